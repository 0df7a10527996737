"""Boxes around what a map marks: the bounding boxes of its connected regions above a threshold."""

from __future__ import annotations

import numpy as np

from wildseg.crf.weak.regions import regions


def boxes(heat: np.ndarray, tau: float, min_area: float, min_share: float) -> np.ndarray:
    """Return the boxes of one class, (m, 5) float64: x0, y0, x1, y1 in pixels, and a score.

    A box holds the columns x0 to x1 - 1 and the rows y0 to y1 - 1. Its score is the mean of the map inside of it.

    Args:
        heat: (H, W) in [0, 1], the map of a class.
        tau: a region is where the map is above this.
        min_area: share of the frame that a region must have at least.
        min_share: share of the class's largest region that it must have at least.
    """
    rows = [
        (at.columns.start, at.rows.start, at.columns.stop, at.rows.stop, float(at.within(heat).mean(dtype=np.float64)))
        for at in regions(heat > tau, min_area, min_share)
    ]
    return np.array(rows, np.float64).reshape(len(rows), 5)
