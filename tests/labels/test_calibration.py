"""Fitted thresholds against brute force, intervals against scipy's tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from wildseg.labels.calibration import MIN_FRAMES, ThresholdFit, best_threshold, exact_interval, fit_thresholds


def random_class(seed: int, levels: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(25) < 0.5
    return np.round((rng.random(25) + 0.5 * truth) / 1.5 * levels) / levels, truth


GRID = np.arange(0, 1, 0.0005)


@pytest.mark.parametrize("levels", [1000, 8])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_f1_is_that_of_all_thresholds_tried(seed: int, levels: int) -> None:
    scores, truth = random_class(seed, levels)
    threshold = best_threshold(scores, truth, None)
    assert threshold is not None
    best = max(f1_score(truth, scores > cut, zero_division=0) for cut in GRID)
    assert f1_score(truth, scores > threshold) == pytest.approx(best)


@pytest.mark.parametrize("wanted", [0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_wanted_precision_is_kept_with_as_much_recall_as_it_allows(seed: int, wanted: float) -> None:
    scores, truth = random_class(seed)

    def reaches(cut: float) -> tuple[float, float]:
        named = scores > cut
        return float(truth[named].mean()) if named.any() else 0.0, float((named & truth).sum() / truth.sum())

    threshold = best_threshold(scores, truth, wanted)
    assert threshold is not None
    tried = [reaches(cut) for cut in GRID]
    allowed = [recall for precision, recall in tried if precision >= wanted]
    precision, recall = reaches(threshold)
    if allowed:
        assert precision >= wanted
        assert recall == pytest.approx(max(allowed))
    else:
        assert precision == pytest.approx(max(precision for precision, _ in tried))


def test_thresholds_by_hand() -> None:
    scores, truth = np.array([0.9, 0.6, 0.5, 0.2]), np.array([True, False, True, False])
    assert best_threshold(scores, truth, None) == pytest.approx(0.35)  # F1 2/3, 1/2, 4/5, 2/3
    assert best_threshold(scores, truth, 1.0) == pytest.approx(0.75)
    assert best_threshold(scores, truth, 0.6) == pytest.approx(0.35)
    assert best_threshold(scores, ~truth, 0.9) == pytest.approx(0.1)  # out of reach: 1/2 at most
    assert best_threshold(scores, np.zeros(4, bool), None) is None
    assert best_threshold(np.zeros(4), truth, None) is None  # nothing lies above 0
    assert best_threshold(np.array([0.4, 0.0]), np.array([True, True]), None) == pytest.approx(0.2)


@pytest.mark.parametrize(("hits", "of"), [(0, 1), (1, 1), (0, 7), (7, 7), (3, 7), (19, 20)])
def test_intervals_are_those_of_clopper_and_pearson(hits: int, of: int) -> None:
    expected = binomtest(hits, of).proportion_ci(0.95, "exact")
    assert exact_interval(hits, of) == pytest.approx((expected.low, expected.high))


def test_an_interval_of_nothing_is_everything() -> None:
    assert exact_interval(0, 0) == (0.0, 1.0)


def test_a_class_with_too_few_frames_with_or_without_it_gets_no_threshold() -> None:
    scores = np.stack([random_class(0)[0], random_class(1)[0], random_class(2)[0]], 1)
    truth = np.stack([random_class(0)[1], np.arange(25) < MIN_FRAMES - 1, np.arange(25) >= MIN_FRAMES - 1], 1)
    first, rare, common = fit_thresholds(scores, truth)
    assert first.missing == ""
    assert first.threshold == best_threshold(scores[:, 0], truth[:, 0], None)
    assert (rare.missing, common.missing) == (
        "too few frames with it (3 are needed)", "too few frames without it (3 are needed)",
    )  # fmt: skip
    assert (rare.present, rare.absent) == (common.absent, common.present) == (MIN_FRAMES - 1, 25 - MIN_FRAMES + 1)
    assert np.isnan(
        [rare.threshold, rare.precision, rare.recall, *rare.threshold_interval, *rare.recall_interval]
    ).all()


@pytest.mark.parametrize(
    ("scores", "lacking"),
    [
        ([0.4] * 8, "the same score in all frames"),
        ([1.0] * 8, "the same score in all frames"),
        ([0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4], "no score above 0 where it is"),
    ],
)
def test_scores_that_cannot_tell_a_class_give_no_threshold(scores: list[float], lacking: str) -> None:
    (own,) = fit_thresholds(np.array(scores)[:, None], (np.arange(8) < 4)[:, None])
    assert own.missing == lacking
    assert np.isnan(own.threshold)


def test_a_threshold_below_all_scores_is_known_as_one() -> None:
    truth = np.arange(8) < 5
    (backwards,) = fit_thresholds(np.linspace(0.1, 0.8, 8)[:, None], truth[:, None])
    (right,) = fit_thresholds(np.linspace(0.8, 0.1, 8)[:, None], truth[:, None])
    assert (backwards.predicts_all, right.predicts_all) == (True, False)


def test_a_precision_is_not_out_of_reach_where_nothing_is_named() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])[:, None]
    truth = np.arange(6)[:, None] < 3
    assert [own.reaches_precision for own in fit_thresholds(scores, truth, 1.0)] == [True]
    assert [own.reaches_precision for own in fit_thresholds(1 - scores, truth, 1.0)] == [
        False
    ]  # what is absent scores higher
    assert ThresholdFit(0, 3).reaches_precision


def test_the_interval_of_thresholds_is_that_of_frames_drawn_again() -> None:
    scores, truth = random_class(3)
    (own,) = fit_thresholds(scores[:, None], truth[:, None], seed=5)
    draws = np.random.default_rng(5).integers(0, 25, (1000, 25))
    again = [best_threshold(scores[rows], truth[rows], None) for rows in draws]
    expected = np.quantile([value for value in again if value is not None], [0.025, 0.975])
    assert own.threshold_interval == pytest.approx(tuple(expected))
    assert own.threshold_interval[0] <= own.threshold <= own.threshold_interval[1]


def test_more_frames_make_it_surer() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((400, 1)) < 0.5
    scores = (rng.random((400, 1)) + truth) / 2
    (few,), (many,) = fit_thresholds(scores[:20], truth[:20]), fit_thresholds(scores, truth)
    for few_in, many_in in (
        (few.precision_interval, many.precision_interval),
        (few.recall_interval, many.recall_interval),
        (few.threshold_interval, many.threshold_interval),
    ):
        assert many_in[1] - many_in[0] < few_in[1] - few_in[0]


@pytest.mark.parametrize("everything", [True, False])
def test_frames_that_show_all_classes_or_none_say_nothing(everything: bool) -> None:
    assert all(
        own.missing for own in fit_thresholds(np.random.default_rng(0).random((6, 2)), np.full((6, 2), everything))
    )
