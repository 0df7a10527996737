import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from wildseg.metrics import confusion, intervals, multilabel
from wildseg.metrics.intervals import Counts, interval, of_labels, of_matrix, redraw, stretch_of


@pytest.fixture
def matrices() -> np.ndarray:
    """Confusion matrices of 40 frames, (40, 4, 5), the last class absent in truth and prediction."""
    found = np.random.default_rng(3).integers(0, 50, (40, 4, 5))
    found[:, 3] = found[:, :, 3] = 0
    return found


def test_measures_of_counts_are_those_of_the_matrix(matrices: np.ndarray) -> None:
    counts = np.stack([of_matrix(matrix) for matrix in matrices])
    total = matrices.sum(0)
    assert np.array_equal(counts.sum(0), of_matrix(total))
    np.testing.assert_allclose(intervals.iou(counts.sum(0)), confusion.iou(total))
    np.testing.assert_allclose(intervals.recall(counts.sum(0)), confusion.recall(total))
    np.testing.assert_allclose(intervals.precision(counts.sum(0)), confusion.precision(total))
    assert intervals.miou(counts.sum(0)) == pytest.approx(confusion.miou(total))
    assert intervals.mean_recall(counts.sum(0)) == pytest.approx(confusion.mean_recall(total))


def test_micro_values_of_labels_are_those_of_scikit_learn() -> None:
    noise = np.random.default_rng(0)
    target, named = noise.random((2, 30, 5)) < 0.4
    counts = sum(of_labels(t, np.ones(5, bool), n) for t, n in zip(target, named, strict=True))
    assert intervals.micro(intervals.f1)(counts) == pytest.approx(f1_score(target, named, average="micro"))
    assert intervals.micro(intervals.recall)(counts) == pytest.approx(recall_score(target, named, average="micro"))
    np.testing.assert_allclose(intervals.f1(counts), f1_score(target, named, average=None))


def test_what_does_not_count_is_no_error() -> None:
    target, named = np.array([[True, False, True], [True, True, False]])
    valid = np.array([True, False, False])
    assert of_labels(target, valid, named).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert np.array_equal(
        of_labels(target, valid, named)[2], multilabel.counts(target[None], named[None], valid[None]).false_negatives
    )


def test_the_interval_is_that_of_a_loop_over_draws(matrices: np.ndarray) -> None:
    blocks = matrices.reshape(8, 5, 4, 5).sum(1)
    counts = np.stack([of_matrix(block) for block in blocks])
    generator = np.random.default_rng(0)
    draws = [confusion.miou(blocks[generator.integers(8, size=8)].sum(0)) for _ in range(1000)]
    assert interval(counts, intervals.miou) == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))), abs=1e-12)
    low, high = intervals.intervals(counts, intervals.iou)
    generator = np.random.default_rng(0)
    each = np.stack([confusion.iou(blocks[generator.integers(8, size=8)].sum(0)) for _ in range(1000)])
    np.testing.assert_allclose(low[:3], np.quantile(each[:, :3], 0.025, axis=0))
    np.testing.assert_allclose(high[:3], np.quantile(each[:, :3], 0.975, axis=0))
    assert np.isnan([low[3], high[3]]).all()


def test_the_interval_covers_the_true_value_about_as_often_as_it_says() -> None:
    # Stretches whose hit rates spread around .7: the recall of all that could be drawn.
    noise, covered = np.random.default_rng(1), 0
    for _ in range(200):
        hits = noise.binomial(100, np.clip(noise.normal(0.7, 0.15, 30), 0, 1))
        counts = np.stack([hits, 0 * hits, 100 - hits], axis=1)[..., None]
        low, high = interval(counts, intervals.mean_recall)
        covered += low <= 0.7 <= high
    assert 0.88 < covered / 200 < 0.99


def test_equal_stretches_leave_no_doubt_and_few_stretches_no_interval() -> None:
    same = np.tile(np.array([[[8], [1], [1]]]), (6, 1, 1))
    assert interval(same, intervals.miou) == pytest.approx((0.8, 0.8))
    assert np.isnan(interval(same[:4], intervals.miou)).all()
    assert np.isnan(interval(same[:0], intervals.miou)).all()


def test_redrawn_sums_hold_as_many_stretches_as_there_are() -> None:
    sums = redraw(np.ones((7, 3, 2), np.int64), draws=50)
    assert sums.shape == (50, 3, 2)
    assert (sums == 7).all()


def test_counts_are_summed_by_level_and_stretch() -> None:
    counts = Counts()
    one = np.arange(6).reshape(3, 2)
    for place, (source, time_s) in enumerate([("a", 0.0), ("a", 5.9), ("a", 6.0), ("b", 0.0)]):
        counts.add("maps", stretch_of(source, time_s, place), one)
    assert np.array_equal(counts.by_stretch("maps"), np.stack([2 * one, one, one]))
    assert counts.frames("maps") == 4
    assert np.array_equal(one, np.arange(6).reshape(3, 2))  # the caller's own
    assert counts.by_stretch("model").shape[0] == counts.frames("model") == 0


def test_photos_without_times_are_stretched_by_their_order() -> None:
    assert [stretch_of("a", None, place)[1] for place in (0, 5, 6, 12)] == [0, 0, 1, 2]
