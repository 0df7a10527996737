"""Which frames to correct first, against plain loops and all sets of a tiny case."""

from __future__ import annotations

from itertools import combinations
from math import e, sqrt

import numpy as np
import pytest

from wildseg.metrics.selection import disputed_pixels, select


def worth(counts: np.ndarray, frames: tuple[int, ...] | list[int]) -> float:
    return sum(sqrt(sum(int(counts[frame, id_]) for frame in frames)) for id_ in range(counts.shape[1]))


def test_disputed_pixels_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([0, 1, 2, 3, 255], np.uint8)
    pseudo, prediction = rng.choice(ids, (6, 7)), rng.choice(ids[:4], (6, 7))
    expected, number = [0] * 4, 0
    for one, other in zip(pseudo.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if one == 255 or one != other:
            number += 1
            for id_ in (one, other):
                if id_ != 255:
                    expected[id_] += 1
    counts, found = disputed_pixels(pseudo, prediction, 4)
    assert counts.tolist() == expected
    assert found == number
    assert disputed_pixels(prediction, prediction, 4)[1] == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_worth_nearly_what_the_best_set_is(seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(1.5, (9, 4)) ** 3
    chosen = select(counts, 4)
    best = max(worth(counts, frames) for frames in combinations(range(9), 4))
    assert (1 - 1 / e) * best <= worth(counts, chosen) <= best + 1e-9
    for place in range(4):  # each is the best next one
        values = [worth(counts, [*chosen[:place], frame]) for frame in range(9) if frame not in chosen[:place]]
        assert worth(counts, chosen[: place + 1]) == pytest.approx(max(values))


def test_a_frame_of_another_class_comes_before_a_second_of_the_same() -> None:
    assert select(np.array([[100, 0], [99, 0], [0, 40]]), 3) == [0, 2, 1]


def test_frames_without_a_disputed_pixel_are_never_chosen() -> None:
    assert select(np.array([[0, 0], [1, 0], [0, 0]]), 3) == [1]
    assert select(np.zeros((2, 3), int), 2) == []
    assert select(np.zeros((0, 3), int), 2) == []
