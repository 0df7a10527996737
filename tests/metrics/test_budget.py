import numpy as np
import pytest

from wildseg.metrics import budget as levels
from wildseg.metrics import intervals
from wildseg.metrics.budget import TESTED, Budget
from wildseg.metrics.confusion import confusion_matrix, iou, miou

TRUTH = np.array([[1, 1, 2, 255], [3, 3, 0, 0]], np.uint8)


@pytest.mark.parametrize("named", [(1, 0, 1), (1, 1, 1), (0, 0, 0)])
def test_the_ceiling_is_the_truth_without_the_classes_that_labels_miss(named: tuple[int, ...]) -> None:
    kept = np.isin(TRUTH, [0, *(id_ for id_, one in zip((1, 2, 3), named, strict=True) if one)])
    expected = miou(confusion_matrix(TRUTH, np.where(kept, TRUTH, 255), 4))
    budget = Budget()
    budget.add_ceiling("a", False, confusion_matrix(TRUTH, TRUTH, 4).sum(1), np.array(named, bool))
    assert budget.miou(levels.CEILING).value == expected


def test_levels_are_counted_on_all_frames_and_on_tested_ones() -> None:
    noise = np.random.default_rng(0)
    budget, truths, masks = Budget(), [], []
    for place in range(12):
        truth, ids = noise.integers(0, 4, (2, 6, 5)).astype(np.uint8)
        truth[0, 0] = ids[0, 1] = 255
        budget.add_matrix(levels.MASKS, place // 2, place % 3 == 0, confusion_matrix(truth, ids, 4))
        budget.add_labels(place // 2, place % 3 == 0, *(noise.random((3, 3)) < 0.5))
        truths.append(truth)
        masks.append(ids)
    whole = confusion_matrix(np.stack(truths), np.stack(masks), 4)
    part = confusion_matrix(np.stack(truths[::3]), np.stack(masks[::3]), 4)
    assert budget.miou(levels.MASKS).value == pytest.approx(miou(whole))
    assert budget.miou(levels.MASKS + TESTED).value == pytest.approx(miou(part))
    assert [one.value for one in budget.by_class(levels.MASKS, intervals.iou)] == pytest.approx(iou(whole).tolist())
    assert (budget.frames(), budget.frames(tested=True)) == (12, 4)
    low, high = budget.miou(levels.MASKS).interval
    assert low < budget.miou(levels.MASKS).value < high
    assert np.isnan(budget.miou(levels.MASKS + TESTED).interval).all()  # four stretches
    f1, recall = budget.labels(tested=False)
    assert 0 < f1.value < 1
    assert 0 < recall.value < 1


def test_what_was_not_measured_is_nan() -> None:
    budget = Budget()
    assert np.isnan(budget.miou(levels.MODEL).value)
    assert np.isnan(budget.labels(tested=True)[0].value)
    assert budget.by_class(levels.MAPS, intervals.iou) == []
    assert budget.frames() == 0
