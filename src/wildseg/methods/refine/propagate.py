"""Propagation along image edges (PEARL 2026): maps of pixels, sure ones kept, unsure ones filled from neighbours.

The mathematics is that of `wildseg.cam.propagation`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from wildseg.cam import propagation
from wildseg.cam.pixel_grid import on_pixels
from wildseg.core.limits import Between, Count, Side

NEEDS = frozenset({"image"})


def refine(
    maps: np.ndarray,
    image: np.ndarray,
    *,
    kappa: Annotated[float, Between(0, 1000)] = 2.0,
    tau: Annotated[float, Between(0, 10000)] = 1.0,
    steps: Count = 25,
    side: Side = 80,
) -> np.ndarray:
    """Return refined maps (K, h', w') float64 on a grid of pixels.

    Args:
        maps: (K, h, w) in [0, 1], K > 0.
        image: (H, W, 3) uint8.
        kappa: how much an edge of the image separates.
        tau: strength of the smoothing.
        steps: of conjugate gradients.
        side: cells of the shorter side of the grid.
    """
    fine, pixels = on_pixels(maps, image, side)
    return propagation.propagate(fine, propagation.luma(pixels), kappa, tau, steps)
