"""Stability along the flow, against a loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wildseg.core.errors import DataError
from wildseg.core.flow import Track
from wildseg.metrics.consistency import equal_pixels
from wildseg.metrics.flicker import counts_along_flow


def still(shape: tuple[int, int]) -> Track:
    return Track(np.zeros((*shape, 2), np.float32), np.ones(shape, bool))


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_a_loop_over_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids, neighbour = (rng.choice([0, 1, 2, 3, 255], (6, 8)).astype(np.uint8) for _ in range(2))
    flow = rng.integers(-2, 3, (6, 8, 2)).astype(np.float32)
    consistent = rng.random((6, 8)) < 0.8
    expected, equal, pixels = np.zeros((3, 4), int), 0, 0
    for y in range(6):
        for x in range(8):
            column, row = x + int(flow[y, x, 0]), y + int(flow[y, x, 1])
            if not consistent[y, x] or not (0 <= column < 8 and 0 <= row < 6):
                continue
            one, other = int(ids[y, x]), int(neighbour[row, column])
            if 255 in (one, other):
                continue
            pixels += 1
            equal += one == other
            if one == other:
                expected[0, one] += 1
            else:
                expected[1, other] += 1
                expected[2, one] += 1
    counts = counts_along_flow(ids, neighbour, Track(flow, consistent), 4)
    np.testing.assert_array_equal(counts, expected)
    assert equal_pixels(counts) == pytest.approx(equal / pixels)


def test_a_picture_that_moves_with_the_camera_does_not_flicker() -> None:
    rng = np.random.default_rng(0)
    world = rng.integers(1, 4, (20, 30)).astype(np.uint8)
    one, other = world[:, :24], world[:, 3:27]  # the camera goes 3 pixels to the right
    flow = np.full((20, 24, 2), (-3, 0), np.float32)
    along = equal_pixels(counts_along_flow(one, other, Track(flow, np.ones((20, 24), bool)), 4))
    assert along == 1
    assert equal_pixels(counts_along_flow(one, other, still((20, 24)), 4)) < 0.5


def test_nothing_to_compare_is_nan_and_sizes_must_agree() -> None:
    ids = np.ones((4, 5), np.uint8)
    track = Track(np.zeros((4, 5, 2), np.float32), np.zeros((4, 5), bool))
    assert math.isnan(equal_pixels(counts_along_flow(ids, ids, track, 2)))
    with pytest.raises(DataError, match="expected a prediction of the truth's shape"):
        counts_along_flow(ids[:3], ids, still((4, 5)), 2)
