"""Polygons as pixels: centres inside, by a plain loop over points."""

from __future__ import annotations

import numpy as np

from wildseg.exchange.polygons import fill


def inside(ring: np.ndarray, x: float, y: float) -> bool:
    """Whether a point lies inside, by crossings of a ray to its left."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
            crossings += 1
    return crossings % 2 == 1


def test_pixels_are_those_whose_centre_is_inside() -> None:
    rng = np.random.default_rng(0)
    for corners in (3, 4, 7, 12):
        for _ in range(10):
            ring = rng.uniform(-3, 15, (corners, 2))
            expected = [[inside(ring, column + 0.5, row + 0.5) for column in range(13)] for row in range(9)]
            assert fill([ring], (9, 13)).tolist() == expected


def test_a_box_has_its_pixels_and_neighbours_share_none() -> None:
    left, right = (np.array([[x, 1], [x + 3, 1], [x + 3, 4], [x, 4]]) for x in (0, 3))
    both = fill([left], (5, 6)).astype(int) + fill([right], (5, 6))
    assert both.tolist() == [[0] * 6, [1] * 6, [1] * 6, [1] * 6, [0] * 6]
    assert fill([left, right], (5, 6)).tolist() == (both > 0).tolist()
