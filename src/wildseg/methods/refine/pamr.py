"""PAMR, pixel-adaptive mask refinement (Araslanov and Roth 2020, section 4.2): averages over pixels of like colour.

The mathematics is that of `wildseg.cam.pixel_adaptive`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from wildseg.cam import pixel_adaptive
from wildseg.cam.pixel_grid import on_pixels
from wildseg.core.limits import Between, Length, Side

NEEDS = frozenset({"image"})


def refine(
    maps: np.ndarray,
    image: np.ndarray,
    *,
    steps: Annotated[int, Between(0, 1000)] = 10,
    dilations: Annotated[Sequence[Annotated[int, Between(1, 1000)]], Length(1, 16)] = (8, 16),
    side: Side = 224,
) -> np.ndarray:
    """Return refined maps (K, h', w') float32 on a grid of pixels.

    Args:
        maps: (K, h, w) in [0, 1], K > 0.
        image: (H, W, 3) uint8.
        steps: how often maps are averaged.
        dilations: distances of neighbours in cells of the grid.
        side: cells of the shorter side of the grid.
    """
    fine, pixels = on_pixels(maps, image, side)
    return pixel_adaptive.refine(fine, pixels, steps, dilations)
