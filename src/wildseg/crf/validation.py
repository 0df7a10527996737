"""Validation of stored maps before they become pseudo masks."""

from __future__ import annotations

import numpy as np


def problem(classes: np.ndarray, maps: np.ndarray, num_classes: int) -> str | None:
    """Say what is wrong with the maps of a frame, or None.

    Args:
        classes: to be (K,) indices from 0, below `num_classes`; K may be 0.
        maps: to be (K, h, w) in [0, 1].
        num_classes: how many classes there are.
    """
    if maps.ndim != 3 or classes.shape != maps.shape[:1] or (len(classes) and not maps.size):
        return f"expected classes (K,) and maps (K, h, w), found {classes.shape} and {maps.shape}"
    if not len(classes):
        return None
    if not 0 <= classes.min() <= classes.max() < num_classes:
        return f"expected class indices below {num_classes}, found {classes.tolist()}"
    if not (maps.min() >= 0 and maps.max() <= 1):  # not the other way round: NaN must fail
        return f"expected values in [0, 1], found {maps.min():g} to {maps.max():g}"
    return None
