import numpy as np
import pytest

from wildseg.metrics import confusion as area
from wildseg.metrics.confusion import confusion_matrix
from wildseg.metrics.frame_counts import of_confusion, strict, without_open
from wildseg.metrics.intervals import iou, miou
from wildseg.metrics.paired import difference, differences


@pytest.fixture
def pairs() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Truth, a poor and a better answer of 30 frames of 6 x 8 pixels and three classes; some pixels are left open."""
    noise = np.random.default_rng(0)
    found = []
    for frame in range(30):
        truth = noise.integers(0, 3, (6, 8))
        hard = 0.2 + 0.6 * (frame % 5) / 5  # for both
        poor, better = (np.where(noise.random((6, 8)) < hard + more, truth, (truth + 1) % 3) for more in (0, 0.1))
        better[0, :2] = 255
        found.append((truth, poor, better))
    return found


def counts(pairs: list, index: int) -> np.ndarray:
    return np.stack([of_confusion(confusion_matrix(one[0], one[index], 3)) for one in pairs])


def test_the_values_are_those_of_one_confusion_matrix(pairs: list) -> None:
    whole = [sum(confusion_matrix(one[0], one[index], 3) for one in pairs) for index in (1, 2)]
    found = difference(strict(counts(pairs, 1)), strict(counts(pairs, 2)), miou)
    assert (found.first, found.second) == pytest.approx([area.miou(matrix) for matrix in whole])
    known = difference(without_open(counts(pairs, 1)), without_open(counts(pairs, 2)), miou)
    assert known.second == pytest.approx(area.miou(area.without_ignored(whole[1])))
    assert known.second > found.second


def test_the_interval_is_that_of_a_plain_loop_over_redrawn_pairs(pairs: list) -> None:
    """Frames drawn with replacement by the generator that the library documents, both answers of each together."""
    first, second = strict(counts(pairs, 1)), strict(counts(pairs, 2))
    found = difference(first, second, miou)
    values = []
    for drawn in np.random.default_rng(0).integers(30, size=(1000, 30)):
        matrices = [sum(confusion_matrix(pairs[i][0], pairs[i][index], 3) for i in drawn) for index in (1, 2)]
        values.append(area.miou(matrices[1]) - area.miou(matrices[0]))
    assert found.interval == pytest.approx(np.quantile(values, (0.025, 0.975)))
    assert found.interval.low < found.value < found.interval.high
    assert found.is_clear


def test_pairing_narrows_the_interval(pairs: list) -> None:
    first, second = strict(counts(pairs, 1)), strict(counts(pairs, 2))
    shuffled = second[np.random.default_rng(1).permutation(30)]
    paired, unpaired = (difference(first, one, miou).interval for one in (second, shuffled))
    assert paired.high - paired.low < unpaired.high - unpaired.low


@pytest.mark.parametrize("stretches", [30, 2, 0])
def test_a_run_differs_from_itself_by_exactly_nothing(pairs: list, stretches: int) -> None:
    own = strict(counts(pairs, 1))[:stretches]
    for found in (difference(own, own, miou), *differences(own, own, iou)):
        assert np.isnan(found.value) if not stretches else (found.value, *found.interval) == (0, 0, 0)
        assert not found.is_clear


def test_of_too_few_stretches_there_is_no_interval(pairs: list) -> None:
    found = difference(strict(counts(pairs, 1))[:4], strict(counts(pairs, 2))[:4], miou)
    assert np.isfinite(found.value)
    assert np.isnan(found.interval).all()


def test_a_class_that_one_run_alone_has_has_no_difference() -> None:
    first, second = np.zeros((6, 3, 2), int), np.zeros((6, 3, 2), int)
    first[:, 0, 0], second[:, 0, 0], second[:, 1, 1] = 5, 4, 1  # the second run predicts a class that is nowhere
    found = differences(first, second, iou)
    assert np.isnan(found[1].value)
    assert found[1].second == 0
    assert np.isnan(found[1].interval).all()
