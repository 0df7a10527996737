"""Sharpness of templates: numbers worked out on paper, and who may win."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.encoders.params import Sharpest
from wildseg.labels.sharpness import MIN_FRAMES, rank, sharpness

SCORES = [np.array([0.7, 0.2]), np.array([0.5, 0.4]), np.array([0.3, 0.3])]


def test_the_worked_example_has_the_population_variance_and_the_ratio_of_sums() -> None:
    # Variances .0625, .0025, 0 over means .45, .45, .3.
    assert sharpness(SCORES) == pytest.approx(0.0650 / 1.20, abs=1e-12)
    assert sharpness(SCORES) == pytest.approx(0.0541667, abs=5e-8)
    assert sharpness(SCORES) * 2 == pytest.approx(0.1083333, abs=5e-8)  # two classes: the sample variance is twice it


def test_the_mean_of_ratios_is_the_other_reading_of_the_paper() -> None:
    assert sharpness(SCORES, "mean_of_ratios") == pytest.approx(0.0481481, abs=5e-8)


@pytest.mark.parametrize("reduction", ["ratio_of_sums", "mean_of_ratios"])
def test_equal_scores_have_none_and_a_factor_of_all_scores_is_one_of_the_value(reduction: str) -> None:
    assert sharpness([np.full(3, 0.2), np.full(2, 0.9)], reduction) == pytest.approx(0, abs=1e-15)
    assert sharpness([0.3 * row for row in SCORES], reduction) == pytest.approx(0.3 * sharpness(SCORES, reduction))


def by_loops(probabilities: np.ndarray, present: np.ndarray) -> float:
    """The formula, word by word, of one template: belief (n, C)."""
    variances = means = 0.0
    for row, is_in in zip(probabilities.tolist(), present.tolist(), strict=True):
        own = [value for value, there in zip(row, is_in, strict=True) if there]
        if len(own) < 2:
            continue
        mean = sum(own) / len(own)
        variances += sum((value - mean) ** 2 for value in own) / len(own)
        means += mean
    return variances / means


@pytest.fixture
def looked() -> tuple[np.ndarray, np.ndarray]:
    """Beliefs (n, T, C) of 30 frames, 5 templates and 4 classes, and which classes are present."""
    rng = np.random.default_rng(0)
    present = rng.random((30, 4)) < 0.5
    logits = rng.normal(size=(30, 5, 4)) * np.array([0.5, 1, 2, 3, 0.2])[:, None] + 4 * present[:, None]
    probabilities = np.exp(logits)
    return probabilities / probabilities.sum(2, keepdims=True), present


def test_candidates_are_ranked_by_the_formula_on_frames_of_two_classes_or_more(
    looked: tuple[np.ndarray, np.ndarray],
) -> None:
    probabilities, present = looked
    ranking = rank("abcde", probabilities, present, guarded(1.0))
    expected = {name: by_loops(probabilities[:, index], present) for index, name in enumerate("abcde")}
    assert [one.template for one in ranking.candidates] == sorted(expected, key=lambda name: expected[name])
    assert {one.template: one.sharpness for one in ranking.candidates} == pytest.approx(expected)
    assert ranking.frames == (present.sum(1) >= 2).sum() < ranking.sampled_frames == 30
    assert ranking.sufficient


def guarded(guard: float) -> Sharpest:
    """The section clip.sharpest."""
    return Sharpest("auto", "ratio_of_sums", guard, 64)


def frames(*beliefs: list[float], number: int = MIN_FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """The same frame `number` times, its first two classes of three present; one belief a template."""
    return np.tile(np.array(beliefs), (number, 1, 1)), np.tile([True, True, False], (number, 1))


def test_a_template_to_which_everything_looks_alike_is_uninformative_and_comes_last() -> None:
    probabilities, present = frames([0.33, 0.33, 0.34], [0.5, 0.3, 0.2], [0.6, 0.3, 0.1])
    ranking = rank(["blank", "calm", "sharp"], probabilities, present, guarded(0.05))
    assert [(one.template, one.below_guard) for one in ranking.candidates] == [
        ("calm", False), ("sharp", False), ("blank", True)
    ]  # fmt: skip
    assert ranking.best == "calm"
    assert ranking.below_guard == 1
    assert rank(["blank", "calm", "sharp"], probabilities, present, guarded(1.0)).best == "blank"


@pytest.mark.parametrize(("wrong", "uninformative"), [(1, False), (2, True)])
def test_a_template_may_be_right_as_much_more_seldom_as_the_guard_says(wrong: int, uninformative: bool) -> None:
    probabilities, present = frames([0.5, 0.4, 0.1], [0.4, 0.4, 0.2], number=20)
    probabilities[:wrong, 1] = [0.2, 0.2, 0.6]
    ranking = rank(["sure", "unsure"], probabilities, present, guarded(0.05))
    (unsure,) = (one for one in ranking.candidates if one.template == "unsure")
    assert unsure.top1 == 1 - wrong / 20
    assert unsure.below_guard is uninformative
    assert (ranking.best == "unsure") is not uninformative


def test_of_equals_the_first_wins() -> None:
    probabilities, present = frames([0.5, 0.3, 0.2], [0.5, 0.3, 0.2])
    assert rank(["first", "second"], probabilities, present, guarded(0.05)).best == "first"


def test_with_too_few_frames_of_two_classes_the_one_most_often_right_wins() -> None:
    probabilities, present = frames([0.33, 0.33, 0.34], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1], number=MIN_FRAMES - 1)
    ranking = rank(["blank", "sharp", "calm"], probabilities, present, guarded(0.05))
    assert not ranking.sufficient
    assert [one.template for one in ranking.candidates] == ["sharp", "calm", "blank"]


def test_where_no_frame_shows_any_class_the_first_candidate_is_taken() -> None:
    probabilities, present = frames([0.33, 0.33, 0.34], [0.6, 0.3, 0.1])
    ranking = rank(["first", "second"], probabilities, present & False, guarded(0.05))
    assert (ranking.best, ranking.frames, ranking.sufficient) == ("first", 0, False)
    assert ranking.candidates[0].sharpness is ranking.candidates[0].top1 is None
