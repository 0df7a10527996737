"""Boxes from activation maps: bounding boxes of the connected components above a threshold."""

from __future__ import annotations

import numpy as np

from wildseg.crf.weak.regions import regions


def boxes(heat: np.ndarray, tau: float, min_area: float, min_share: float) -> np.ndarray:
    """Return the boxes of one class, (m, 5) float64: x0, y0, x1, y1 in pixels, and a score.

    x1 and y1 are exclusive. The score is the mean of the map in the box.

    Args:
        heat: (H, W) in [0, 1], the activation map of the class.
        tau: threshold of the map; its connected components are the regions.
        min_area: minimum area of a region as a share of the frame.
        min_share: minimum area as a share of the class's largest region.
    """
    rows = [
        (at.columns.start, at.rows.start, at.columns.stop, at.rows.stop, float(at.within(heat).mean(dtype=np.float64)))
        for at in regions(heat > tau, min_area, min_share)
    ]
    return np.array(rows, np.float64).reshape(len(rows), 5)
