"""Thresholds, the fallback, and a person's corrections."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.core.errors import DataError, ParamsError
from wildseg.labels.decide import apply_overrides, decide, threshold_rule
from wildseg.labels.interface import LabelResult

NAMES = ("sky", "road", "lawn")
SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.15]])


def test_a_class_is_present_strictly_above_the_threshold() -> None:
    np.testing.assert_array_equal(decide(SCORES, NAMES, 0.5, 0.2), [[True, False, False], [False, False, False]])


def test_auto_takes_the_threshold_that_suits_the_method() -> None:
    np.testing.assert_array_equal(decide(SCORES, NAMES, 0.15), [[True, True, False], [False, True, False]])


def test_a_mapping_holds_for_its_classes_and_auto_for_the_others() -> None:
    found = decide(SCORES, NAMES, 0.15, {"sky": 0.05, "road": 0.9})
    np.testing.assert_array_equal(found, [[True, False, False], [True, False, False]])


def test_a_mapping_with_an_unknown_class_is_told_the_nearest() -> None:
    with pytest.raises(ParamsError, match=r"label.threshold.lawns: there is no such class; did you mean 'lawn'\?"):
        decide(SCORES, NAMES, 0.5, {"lawns": 0.1})


def test_the_fallback_gives_an_empty_frame_its_best_class() -> None:
    found = decide(SCORES, NAMES, 0.5, fallback="argmax")
    np.testing.assert_array_equal(found, [[True, False, False], [False, True, False]])
    assert not decide(SCORES, NAMES, 0.5)[1].any()


def test_what_was_answered_to_have_no_class_stays_empty_with_the_fallback() -> None:
    scores = np.array([[0.0, 0.0, 0.0], [0.0, 0.2, 0.0]])
    found = decide(scores, NAMES, 0.5, fallback="argmax")
    np.testing.assert_array_equal(found, [[False, False, False], [False, True, False]])


def test_a_threshold_of_zero_takes_all_and_of_one_only_the_fallback() -> None:
    assert decide(SCORES, NAMES, 0.5, 0.0).all()
    assert not decide(SCORES, NAMES, 0.5, 1.0).any()
    np.testing.assert_array_equal(decide(SCORES, NAMES, 0.5, 1.0, "argmax").argmax(1), [0, 1])


def test_a_softmax_passes_fewer_classes_than_one_over_the_threshold() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (500, 8))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert decide(p, [str(c) for c in range(8)], 0.2).sum(1).max() <= 4


def test_a_relative_threshold_counts_from_each_frames_lowest_score_to_its_highest() -> None:
    # .1 + .5 (.7 - .1) = .4; .1 + .5 (.2 - .1) = .15, which .15 does not exceed
    np.testing.assert_array_equal(
        decide(SCORES, NAMES, 0.5, relative=True), [[True, False, False], [False, True, False]]
    )
    np.testing.assert_array_equal(
        decide(SCORES, NAMES, 0.5, {"road": 0.1}, relative=True), [[True, True, False], [False, True, False]]
    )


def test_where_all_scores_are_the_same_a_relative_threshold_finds_nothing() -> None:
    same = np.full((1, 3), 0.9)
    assert not decide(same, NAMES, 0.5, relative=True).any()
    np.testing.assert_array_equal(decide(same, NAMES, 0.5, fallback="argmax", relative=True), [[True, False, False]])


def test_a_rule_takes_the_methods_own_threshold_where_it_has_one() -> None:
    fixed, relative = LabelResult(SCORES[0], 0.2), LabelResult(SCORES[0], 0.3, relative=True)
    assert [threshold_rule(fixed, rule) for rule in ("auto", "fixed", "relative")] == [
        (0.2, False),
        (0.2, False),
        (0.5, True),
    ]
    expected = [(0.3, True), (None, False), (0.3, True)]
    assert [threshold_rule(relative, rule) for rule in ("auto", "fixed", "relative")] == expected


@pytest.mark.parametrize("threshold", ["auto", {"sky": 0.1, "road": 0.1}])
def test_a_fixed_rule_without_a_threshold_is_refused(threshold: object) -> None:
    with pytest.raises(ParamsError, match="label.rule fixed this method has none of its own; expected a number"):
        decide(SCORES, NAMES, None, threshold)
    every = decide(SCORES, NAMES, None, {"sky": 0.1, "road": 0.1, "lawn": 0.1})
    np.testing.assert_array_equal(every, SCORES > 0.1)


def test_another_word_for_a_threshold_is_refused() -> None:
    with pytest.raises(ParamsError, match="expected auto, a number, or a number per class; found 'high'"):
        decide(SCORES, NAMES, 0.5, "high")


def test_another_word_for_a_fallback_is_refused() -> None:
    with pytest.raises(ParamsError, match="label.fallback: expected none or argmax, found 'best'"):
        decide(SCORES, NAMES, 0.5, fallback="best")


def test_a_person_wins_wholly_for_a_frame_and_nowhere_else() -> None:
    present = np.array([[True, True, False], [False, True, False]])
    corrected = apply_overrides(["a", "b"], present, {"a": np.array([False, False, True])}, "overrides.csv")
    np.testing.assert_array_equal(corrected, [[False, False, True], [False, True, False]])
    np.testing.assert_array_equal(present[0], [True, True, False])


def test_a_correction_of_a_frame_that_does_not_exist_is_told_the_nearest() -> None:
    with pytest.raises(DataError, match=r"overrides.csv: expected frames .*found 'drive_000012'; did you mean"):
        apply_overrides(["drive_000010"], np.zeros((1, 3), bool), {"drive_000012": np.zeros(3, bool)}, "overrides.csv")
