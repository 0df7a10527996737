"""Position embeddings for grids of another size than the one a model was trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# bicubic: as most dense uses of CLIP do. bilinear_half: as the published code of CLIP-ES does, which also rounds to
# float16, at any size: only for comparison with its numbers.
POS_EMBED_MODES = ("bicubic", "bilinear_half")


def resample(stored: Tensor, native: tuple[int, int], grid: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Return the embedding of a grid of (h, w) cells: (1 + h*w, D); half-pixel centres, no anti-alias.

    The native grid's is returned as stored (rounded, where the way says so); the class token's row is not resampled.

    Args:
        stored: (1 + h0*w0, D), the class token first.
        native: (h0, w0).
        grid: (h, w).
        mode: one of `POS_EMBED_MODES`.
    """
    table = stored
    if grid != native:
        cells = stored[1:].T.reshape(1, -1, *native)  # (1, D, h0, w0)
        cells = F.interpolate(cells, grid, mode=mode.removesuffix("_half"), align_corners=False)
        table = torch.cat([stored[:1], cells[0].flatten(1).T])
    return table.half().to(stored.dtype) if mode.endswith("_half") else table
