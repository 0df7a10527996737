"""What is done to maps whatever method they come from: stretched to [0, 1], brought to another grid."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

EPS = 1e-7  # as in the grad-cam package, so that maps agree with it digit by digit


def normalise(maps: Tensor) -> Tensor:
    """Stretch each of (K, h, w) to [0, 1]: ``(L - min) / (1e-7 + max(L - min))``; a constant map becomes zero."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (EPS + maps.amax((1, 2), keepdim=True))


def resample_maps(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring maps (K, h, w) to another grid, bilinearly (half-pixel centres, no anti-alias)."""
    if maps.shape[1:] == grid:
        return maps
    return F.interpolate(maps[None], grid, mode="bilinear", align_corners=False)[0]
