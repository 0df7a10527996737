import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import multilabel_average_precision

from wildseg.metrics import multilabel as ml

# Three frames with the classes {a, b}, {a}, {c}; named were {a}, {a, b}, {c, a}.
TRUTH = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], bool)
NAMED = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 1]], bool)


def random_labels(seed: int, levels: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Truth (60, 5) bool and scores (60, 5) that follow it, of `levels` different values."""
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 5)) < 0.4
    return truth, np.round((rng.random(truth.shape) + 0.5 * truth) / 1.5 * levels) / levels


def test_the_worked_example() -> None:
    found = ml.counts(TRUTH, NAMED)
    np.testing.assert_array_equal(found, [[2, 0, 1], [1, 1, 0], [0, 1, 0]])
    np.testing.assert_allclose(ml.f1(found), [0.8, 0, 1])
    report = ml.summary(TRUTH, NAMED)
    assert report["macro_f1"] == pytest.approx(0.6)
    assert report["f1"] == pytest.approx(2 / 3)
    assert report["precision"] == pytest.approx(3 / 5)
    assert report["recall"] == pytest.approx(3 / 4)
    assert report["macro_precision"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert report["macro_recall"] == pytest.approx((1 + 0 + 1) / 3)
    assert report["exact_match"] == 0
    assert report["jaccard"] == pytest.approx(0.5)
    assert "map" not in report


@pytest.mark.parametrize("levels", [1000, 12])
@pytest.mark.parametrize("wanted", [0.3, 0.6, 0.8, 0.95, 1.0])
def test_recall_at_a_precision_is_read_off_the_curve_of_scikit_learn(levels: int, wanted: float) -> None:
    truth, scores = random_labels(3, levels)
    valid = np.random.default_rng(4).random(truth.shape) < 0.8
    precision, recall, _ = sk.precision_recall_curve(truth[valid], scores[valid])
    assert ml.recall_at_precision(truth, scores, wanted, valid) == pytest.approx(recall[precision >= wanted].max())


def test_recall_at_a_precision_by_hand() -> None:
    target, scores = np.array([[1], [0], [1], [0]], bool), np.array([[0.9], [0.8], [0.7], [0.6]])
    assert [ml.recall_at_precision(target, scores, wanted) for wanted in (1.0, 0.6, 0.5)] == [0.5, 1.0, 1.0]
    assert ml.recall_at_precision(~target, scores, 0.9) == 0
    assert np.isnan(ml.recall_at_precision(np.zeros((2, 1), bool), np.ones((2, 1)), 0.5))


def test_average_precision_of_four_ranked_frames() -> None:
    target, scores = np.array([[1], [0], [1], [0]], bool), np.array([[0.9], [0.8], [0.7], [0.6]])
    np.testing.assert_allclose(ml.average_precision(target, scores), 5 / 6)


@pytest.mark.parametrize("levels", [1000, 6], ids=["few ties", "many ties"])
def test_average_precision_equals_that_of_scikit_learn_and_torchmetrics(levels: int) -> None:
    truth, scores = random_labels(0, levels)
    ours = ml.average_precision(truth, scores)
    np.testing.assert_allclose(ours, [sk.average_precision_score(t, s) for t, s in zip(truth.T, scores.T, strict=True)])
    theirs = multilabel_average_precision(torch.from_numpy(scores), torch.from_numpy(truth.astype(int)), 5)
    assert ml.mean_average_precision(ours) == pytest.approx(float(theirs), rel=1e-5)


def test_average_precision_does_not_depend_on_the_order_of_frames() -> None:
    truth, scores = random_labels(1, levels=4)
    order = np.random.default_rng(1).permutation(len(truth))
    np.testing.assert_allclose(ml.average_precision(truth[order], scores[order]), ml.average_precision(truth, scores))


def test_precision_recall_and_f1_equal_those_of_scikit_learn() -> None:
    truth, scores = random_labels(2)
    named = scores > 0.5
    report = ml.summary(truth, named, scores)
    for average, prefix in (("micro", ""), ("macro", "macro_")):
        expected = sk.precision_recall_fscore_support(truth, named, average=average)[:3]
        assert [report[prefix + key] for key in ("precision", "recall", "f1")] == pytest.approx(expected)
        always = sk.f1_score(truth, np.ones_like(truth), average=average)
        assert report[f"always_{prefix}f1"] == pytest.approx(always)
    assert report["exact_match"] == pytest.approx(sk.accuracy_score(truth, named))
    assert report["map"] == pytest.approx(sk.average_precision_score(truth, scores, average="macro"))


def test_a_class_in_neither_truth_nor_answer_is_left_out_of_macro_and_a_missed_one_is_not() -> None:
    truth, named = np.array([[1, 1, 0]], bool), np.array([[1, 0, 0]], bool)
    found = ml.counts(truth, named)
    np.testing.assert_allclose(ml.precision(found), [1, np.nan, np.nan])
    np.testing.assert_allclose(ml.recall(found), [1, 0, np.nan])
    assert ml.macro(ml.precision(found), found) == 0.5
    assert ml.macro(ml.f1(found), found) == 0.5


def test_entries_that_do_not_count_change_nothing() -> None:
    truth, scores = random_labels(3)
    named = scores > 0.5
    valid = np.random.default_rng(3).random(truth.shape) < 0.7
    report = ml.summary(truth, named, scores, valid)
    assert report == ml.summary(np.where(valid, truth, ~truth), np.where(valid, named, True), scores, valid)
    assert report == ml.summary(truth, named, np.where(valid, scores, 0.99), valid)
    np.testing.assert_allclose(
        ml.average_precision(truth, scores, valid),
        [sk.average_precision_score(truth[v, k], scores[v, k]) for k, v in enumerate(valid.T)],
    )


def test_entries_that_do_not_count_neither_spoil_an_exact_match_nor_join_a_union() -> None:
    valid = np.array([[True, False]])
    truth, named = np.array([[True, False]]), np.array([[True, True]])
    assert ml.exact_match(truth, named) == 0
    assert ml.exact_match(truth, named, valid) == 1
    assert ml.jaccard(truth, named) == 0.5
    assert ml.jaccard(truth, named, valid) == 1


def test_frames_without_any_class_are_answered_right_by_naming_none() -> None:
    none = np.zeros((2, 3), bool)
    report = ml.summary(none, none, np.zeros((2, 3)))
    assert report["exact_match"] == report["jaccard"] == 1
    for key in ("precision", "recall", "f1", "macro_f1", "map"):
        assert np.isnan(report[key]), key


def test_a_class_in_no_frame_is_left_out_of_the_mean_average_precision() -> None:
    truth, scores = random_labels(4)
    truth[:, 2] = False
    values = ml.average_precision(truth, scores)
    assert np.isnan(values[2])
    assert ml.mean_average_precision(values) == pytest.approx(values[[0, 1, 3, 4]].mean())


def test_joint_false_negatives_are_counted_by_frame() -> None:
    target = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)
    preds = np.array([[0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]], bool)
    expected = [[2, 1, 0], [1, 2, 1], [0, 1, 2]]  # of 0 and 1 in the first frame, of 1 and 2 in the third
    assert ml.joint_false_negatives(target, preds).tolist() == expected
    first_does_not_count = np.ones_like(target)
    first_does_not_count[0] = False
    assert ml.joint_false_negatives(target, preds, first_does_not_count).tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 2]]
    by_hand = [[int((target & ~preds)[:, [a, b]].all(1).sum()) for b in range(3)] for a in range(3)]
    assert by_hand == expected
