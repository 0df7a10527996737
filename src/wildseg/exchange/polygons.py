"""Polygons as pixels: those whose centre lies inside, so that polygons with a common edge share no pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def fill(rings: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels inside, (H, W) bool, by the even-odd rule of each ring; several rings are joined.

    Args:
        rings: (n, 2) x, y of corners in pixels each; the pixel of column c has its centre at c + 0.5.
        shape: (H, W); what lies outside is cut off.
    """
    mask = np.zeros(shape, bool)
    for ring in rings:
        mask |= _inside(np.asarray(ring, np.float64), shape)
    return mask


def _inside(ring: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
    turns = np.zeros((height, width + 1), np.int32)  # by column: edges that are crossed just before it
    first, last = max(0, int(np.floor(ring[:, 1].min()))), min(height, int(np.ceil(ring[:, 1].max())) + 1)
    for row in range(first, last):
        y = row + 0.5
        crossed = (y0 <= y) != (y1 <= y)
        x = x0[crossed] + (y - y0[crossed]) / (y1[crossed] - y0[crossed]) * (x1[crossed] - x0[crossed])
        columns = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
        turns[row] += np.bincount(columns, minlength=width + 1)[: width + 1].astype(np.int32)
    return np.cumsum(turns, axis=1)[:, :width] % 2 == 1
