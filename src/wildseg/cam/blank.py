"""Maps that show nothing: the same value everywhere."""

from __future__ import annotations

import numpy as np


def count_blank(maps: np.ndarray) -> int:
    """Return how many of the maps (K, h, w) are constant; K may be 0."""
    return int((maps.max((1, 2)) == maps.min((1, 2))).sum()) if len(maps) else 0
