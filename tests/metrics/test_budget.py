import numpy as np
import pytest

from wildseg.metrics import budget as levels
from wildseg.metrics import intervals
from wildseg.metrics.budget import TESTED, Budget, ceiling, in_truth
from wildseg.metrics.confusion import confusion_matrix, iou, miou

TRUTH = np.array([[1, 1, 2, 255], [3, 3, 0, 0]], np.uint8)


def test_the_ceiling_leaves_missed_classes_open_and_nothing_else() -> None:
    named = np.array([True, False, True])
    assert ceiling(TRUTH, named).tolist() == [[1, 1, 255, 255], [3, 3, 0, 0]]
    assert np.array_equal(ceiling(TRUTH, np.ones(3, bool)), TRUTH)
    # Perfect but for one class, which has an IoU of 0: three of four ids.
    assert miou(confusion_matrix(TRUTH, ceiling(TRUTH, named), 4)) == 3 / 4


def test_classes_that_the_truth_does_not_show_are_left_out() -> None:
    assert in_truth(np.array([0, 2]), TRUTH).tolist() == [True, True]
    assert in_truth([1], np.full((2, 2), 255, np.uint8)).tolist() == [False]
    assert in_truth(np.array([], int), TRUTH).tolist() == []


def test_levels_are_counted_on_all_frames_and_on_tested_ones() -> None:
    noise = np.random.default_rng(0)
    budget, truths, masks = Budget(4), [], []
    for place in range(12):
        truth, ids = noise.integers(0, 4, (2, 6, 5)).astype(np.uint8)
        truth[0, 0] = ids[0, 1] = 255
        budget.add_ids(levels.MASKS, place // 2, place % 3 == 0, truth, ids)
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
    budget = Budget(4)
    assert np.isnan(budget.miou(levels.MODEL).value)
    assert np.isnan(budget.labels(tested=True)[0].value)
    assert budget.by_class(levels.MAPS, intervals.iou) == []
    assert budget.frames() == 0
