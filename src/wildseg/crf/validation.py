"""Validation of stored maps before they become pseudo masks."""

from __future__ import annotations

import numpy as np


def problem(
    classes: np.ndarray, maps: np.ndarray, num_classes: int, shape: tuple[int, int] | None = None
) -> str | None:
    """Return a description of what is invalid in the maps of a frame, or None.

    Args:
        classes: to be (K,) indices from 0, below `num_classes`; K may be 0.
        maps: to be (K, h, w) in [0, 1].
        num_classes: how many classes there are.
        shape: (H, W) of the frame in pixels, whose shape the grid must have; None accepts any.
    """
    if maps.ndim != 3 or classes.shape != maps.shape[:1] or (len(classes) and not maps.size):
        return f"expected classes (K,) and maps (K, h, w), found {classes.shape} and {maps.shape}"
    if not len(classes):
        return None
    if not 0 <= classes.min() <= classes.max() < num_classes:
        return f"expected class indices below {num_classes}, found {classes.tolist()}"
    if not (maps.min() >= 0 and maps.max() <= 1):  # not the other way round: NaN must fail
        return f"expected values in [0, 1], found {maps.min():g} to {maps.max():g}"
    if shape is not None and not _same_aspect(maps.shape[1:], shape):
        size, grid = shape[::-1], maps.shape[:0:-1]
        return f"expected a grid of its frame's shape, {size[0]}x{size[1]}, found {grid[0]}x{grid[1]} cells"
    return None


def _same_aspect(grid: tuple[int, ...], pixels: tuple[int, int]) -> bool:
    # A grid may deviate by part of a cell on either axis, since an encoder's input is a whole number of patches.
    cells_per_pixel = [((cells - 1.5) / size, (cells + 1.5) / size) for cells, size in zip(grid, pixels, strict=True)]
    (low_y, high_y), (low_x, high_x) = cells_per_pixel
    return low_y < high_x and low_x < high_y
