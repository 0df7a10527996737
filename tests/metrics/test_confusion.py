import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

from wildseg.core.errors import DataError
from wildseg.metrics import confusion as cm

TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 255])
PREDS = np.array([0, 0, 1, 1, 1, 1, 0, 1, 2])


def random_pair(seed: int, num_classes: int = 7, ignore: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, num_classes, (23, 31)).astype(np.uint8)
    preds = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, num_classes, target.shape))
    if ignore:
        target[rng.random(target.shape) < 0.1] = 255
    return target, preds.astype(np.uint8)


def test_the_worked_example() -> None:
    matrix = cm.confusion_matrix(TRUTH, PREDS, 4)
    np.testing.assert_array_equal(matrix, [[2, 2, 0, 0, 0], [1, 2, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    assert matrix.dtype == np.int64
    np.testing.assert_allclose(cm.iou(matrix), [0.4, 1 / 3, 0, np.nan])
    np.testing.assert_allclose(cm.recall(matrix), [0.5, 2 / 3, 0, np.nan])
    np.testing.assert_allclose(cm.precision(matrix), [2 / 3, 0.4, np.nan, np.nan])
    expected = {
        "miou": 11 / 45,
        "miou_present": 11 / 45,
        "miou_all": 11 / 60,
        "miou_without_background": 1 / 6,
        "recall": (0.5 + 2 / 3) / 3,
        "pixel_accuracy": 0.5,
        "fwiou": 0.325,
        "dice": (4 / 7 + 0.5 + 0) / 3,
        "classes_counted": 3,
    }
    assert cm.summary(matrix) == pytest.approx(expected)


def test_a_class_that_is_only_predicted_counts_zero_for_ours_and_not_at_all_for_present() -> None:
    matrix = cm.confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 3]), 5)
    np.testing.assert_allclose(cm.iou(matrix), [1, 0.5, np.nan, 0, np.nan])
    assert cm.miou(matrix) == pytest.approx(0.5)
    assert cm.miou(matrix, "present") == pytest.approx(0.75)
    assert cm.miou(matrix, "all") == pytest.approx(0.3)
    assert cm.miou(matrix, background=False) == pytest.approx(0.25)
    assert cm.mean_recall(matrix) == pytest.approx(0.75)


def test_predictions_outside_the_classes_are_errors_of_the_true_class() -> None:
    matrix = cm.confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 255, 1, -3]), 2)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [0, 1, 1]])
    np.testing.assert_allclose(cm.iou(matrix), 0.5)
    np.testing.assert_allclose(cm.recall(matrix), 0.5)
    np.testing.assert_allclose(cm.precision(matrix), 1)
    np.testing.assert_allclose(cm.dice(matrix), 2 / 3)
    assert cm.pixel_accuracy(matrix) == 0.5


def test_ignored_predictions_are_wrong_when_strict_and_left_out_otherwise() -> None:
    target = np.array([0, 0, 0, 0, 1, 1, 255, 255])
    preds = np.array([0, 0, 255, 255, 1, 0, 255, 1])
    strict = cm.confusion_matrix(target, preds, 2)
    assert cm.coverage(strict) == pytest.approx(4 / 6)
    assert cm.miou(strict) == pytest.approx((2 / 5 + 1 / 2) / 2)
    assert cm.miou(cm.without_ignored(strict)) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert cm.mean_recall(cm.without_ignored(strict)) == pytest.approx((1 + 1 / 2) / 2)
    known = preds != 255
    np.testing.assert_array_equal(cm.without_ignored(strict), cm.confusion_matrix(target[known], preds[known], 2))


@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_and_iou_equal_those_of_torchmetrics(seed: int) -> None:
    target, preds = random_pair(seed)
    matrix = cm.confusion_matrix(target, preds, 7)
    tensors = torch.from_numpy(preds.astype(int)), torch.from_numpy(target.astype(int))
    np.testing.assert_array_equal(matrix[:, :7], multiclass_confusion_matrix(*tensors, 7, ignore_index=255))
    np.testing.assert_allclose(
        cm.iou(matrix), multiclass_jaccard_index(*tensors, 7, average="none", ignore_index=255), rtol=1e-6
    )


def test_our_miou_is_torchmetrics_macro_jaccard_also_with_absent_classes() -> None:
    target, preds = random_pair(0, num_classes=4)
    target[target == 1] = 0  # class 1 is predicted but never true, classes 4 to 6 are neither
    tensors = torch.from_numpy(preds.astype(int)), torch.from_numpy(target.astype(int))
    matrix = cm.confusion_matrix(target, preds, 7)
    assert cm.miou(matrix) == pytest.approx(float(multiclass_jaccard_index(*tensors, 7, ignore_index=255)), rel=1e-6)


def test_recall_precision_and_accuracy_equal_those_of_scikit_learn() -> None:
    target, preds = random_pair(1, ignore=False)
    matrix = cm.confusion_matrix(target, preds, 7)
    flat = target.ravel(), preds.ravel()
    np.testing.assert_allclose(cm.recall(matrix), sk.recall_score(*flat, average=None))
    np.testing.assert_allclose(cm.precision(matrix), sk.precision_score(*flat, average=None))
    np.testing.assert_allclose(cm.dice(matrix), sk.f1_score(*flat, average=None))
    assert cm.mean_recall(matrix) == pytest.approx(sk.balanced_accuracy_score(*flat))
    assert cm.pixel_accuracy(matrix) == pytest.approx(sk.accuracy_score(*flat))
    assert cm.fwiou(matrix) == pytest.approx(sk.jaccard_score(*flat, average="weighted"))


def test_frame_by_frame_and_merged_parts_equal_the_whole() -> None:
    frames = [random_pair(seed) for seed in range(4)]
    one_by_one, first, second = cm.Confusion(7), cm.Confusion(7), cm.Confusion(7)
    for number, frame in enumerate(frames):
        one_by_one.add(*frame)
        (first, second)[number % 2].add(*frame)
    first.merge(second)
    whole = cm.confusion_matrix(*(np.stack(part) for part in zip(*frames, strict=True)), 7)
    np.testing.assert_array_equal(one_by_one.matrix, whole)
    np.testing.assert_array_equal(first.matrix, whole)


def test_a_perfect_prediction_scores_one_everywhere() -> None:
    target, _ = random_pair(2, ignore=False)
    report = cm.summary(cm.confusion_matrix(target, target, 7))
    assert report.pop("classes_counted") == 7
    assert set(report.values()) == {1.0}


def test_swapping_truth_and_prediction_transposes_and_keeps_iou() -> None:
    target, preds = random_pair(3, ignore=False)
    matrix, swapped = cm.confusion_matrix(target, preds, 7), cm.confusion_matrix(preds, target, 7)
    np.testing.assert_array_equal(matrix[:, :7], swapped[:, :7].T)
    np.testing.assert_allclose(cm.iou(matrix), cm.iou(swapped))


def test_renaming_the_classes_reorders_iou_and_keeps_its_mean() -> None:
    target, preds = random_pair(4, ignore=False)
    order = np.random.default_rng(4).permutation(7)
    matrix, renamed = cm.confusion_matrix(target, preds, 7), cm.confusion_matrix(order[target], order[preds], 7)
    np.testing.assert_allclose(cm.iou(renamed)[order], cm.iou(matrix))
    assert cm.miou(renamed) == pytest.approx(cm.miou(matrix))


def test_the_complement_of_two_classes_has_iou_zero_and_dice_follows_from_iou() -> None:
    target = np.array([0, 1, 1, 0])
    np.testing.assert_array_equal(cm.iou(cm.confusion_matrix(target, 1 - target, 2)), 0)
    matrix = cm.confusion_matrix(*random_pair(5), 7)
    np.testing.assert_allclose(cm.dice(matrix), 2 * cm.iou(matrix) / (1 + cm.iou(matrix)))


def test_frequency_weighted_iou_is_miou_when_classes_are_equally_frequent() -> None:
    target = np.repeat(np.arange(4), 25)
    matrix = cm.confusion_matrix(target, np.random.default_rng(0).permutation(target), 4)
    assert cm.fwiou(matrix) == pytest.approx(cm.miou(matrix))


def test_nothing_counted_is_undefined_and_not_zero() -> None:
    empty = cm.confusion_matrix(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8), 3)
    assert not empty.any()
    report = cm.summary(empty)
    for key in ("miou", "miou_present", "recall", "pixel_accuracy", "fwiou", "dice"):
        assert np.isnan(report[key]), key
    assert np.isnan(cm.coverage(empty))


def test_a_true_id_without_a_class_and_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"below 4 or 255, found 0 to 9"):
        cm.confusion_matrix(np.array([0, 9, 255]), np.array([0, 0, 0]), 4)
    with pytest.raises(DataError, match=r"shape \(2, 3\), found \(3, 2\)"):
        cm.confusion_matrix(np.zeros((2, 3), int), np.zeros((3, 2), int), 4)
