"""What is said of classes that are in nearly all frames, or in none."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.labels.prevalence import prevalence_warnings

NAMES = ["sky", "tree", "lawn"]


def labels(frames: int, *counts: int) -> np.ndarray:
    """(frames, K) bool: the first frames of as many as each class is in."""
    return np.arange(frames)[:, None] < np.array(counts)


@pytest.mark.parametrize(
    ("present", "told"),
    [
        (labels(100, 50, 95, 1), []),
        (labels(100, 50, 96, 1), ["tree is in more than 95 % of 100 frames"]),
        (labels(20, 19, 20, 20), ["tree, lawn (2 of 3 classes) are in more than 95 % of 20 frames"]),
        (labels(20, 10, 0, 20), ["lawn is in more than 95 % of 20 frames", "tree is in none of 20 frames"]),
        (labels(20, 0, 0, 7), ["sky, tree (2 of 3 classes) are in none of 20 frames"]),
        (labels(9, 9, 9, 9), []),  # too few to tell
        (labels(10, 10, 10, 9), ["sky, tree (2 of 3 classes) are in more than 95 % of 10 frames"]),
        (labels(1, 1, 0, 1), ["tree is in none of 1 frames"]),
    ],
)
def test_a_class_everywhere_or_nowhere_is_told_in_one_line_each(present: np.ndarray, told: list[str]) -> None:
    found = prevalence_warnings(present, NAMES)
    assert [line.split(" frames")[0] + " frames" for line in found] == told
    assert not any("\n" in line for line in found)


def test_of_many_classes_the_first_are_named() -> None:
    names = [f"class {index}" for index in range(30)]
    (line,) = prevalence_warnings(np.ones((40, 30), bool), names)
    assert line.startswith("class 0, class 1, ")
    assert "class 11 and 18 more (30 of 30 classes) are in more than 95 %" in line
