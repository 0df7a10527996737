"""Maps restricted to boxes: ``m_c <- m_c * [inside a box of c]``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cells_inside(boxes: np.ndarray, size: tuple[int, int], classes: Sequence[int], grid: tuple[int, int]) -> np.ndarray:
    """Return the grid cells that overlap a box of each class: (K, h, w) bool.

    A cell that a box covers in part is inside: boxes thinner than a cell would otherwise hold nothing.

    Args:
        boxes: (m, 6): x0, y0, x1, y1 in pixels, the latter two outside; the id of the class, from 1; a score.
        size: (W, H) of the frame that these pixels are of; the grid covers it, whatever size the frame has now.
        classes: indices from 0 of the K queried classes.
        grid: (h, w).
    """
    height, width = grid
    found = np.zeros((len(classes), height, width), bool)
    for x0, y0, x1, y1, value, _ in boxes:
        for index in np.flatnonzero(np.asarray(classes) == value - 1):
            if x0 < x1 and y0 < y1:
                rows = _cells(y0, y1, height / size[1], height)
                columns = _cells(x0, x1, width / size[0], width)
                found[index, rows, columns] = True
    return found


def _cells(start: float, stop: float, scale: float, number: int) -> slice:
    first, last = np.floor(start * scale + 1e-9), np.ceil(stop * scale - 1e-9)
    return slice(int(np.clip(first, 0, number)), int(np.clip(last, 0, number)))
