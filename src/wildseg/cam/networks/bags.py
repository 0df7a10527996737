"""Tiles as bags: each tile of a training frame is classified by the mean of its cells, with negatives weighed up.

With class maps ``Z = W F`` over the cells u of a training crop, ``a_tu`` the area that cell u and tile t share:

    z_t  = sum_u a_tu Z_u / sum_u a_tu
    loss = sum_t v_t BCE(z_t, y_t; p) / sum_t v_t,  the mean over classes

v_t is the part of the tile that the crop shows, and p_c the number of tiles without class c for each with it, from
0.001 to 10: the weight of the positive term. With one tile, all of it in view, and p = 1 this is the loss of the whole
frame.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Weights of positive terms. A class in nearly all tiles must not keep a bias: its map would win everywhere.
LIGHTEST, HEAVIEST = 0.001, 10.0
SMALLEST = 1e-12  # of an area that is divided by


def positive_weights(tiles: np.ndarray) -> np.ndarray:
    """Return the weight of the positive term of each class, (C,) float32: negatives a positive, from 0.001 to 10.

    Args:
        tiles: (N, r, c, C) bool, which classes are in each tile of the training frames.
    """
    flat = tiles.reshape(-1, tiles.shape[-1])
    positive = flat.sum(0)
    ratio = (len(flat) - positive) / np.maximum(positive, 1)
    return ratio.clip(LIGHTEST, HEAVIEST).astype(np.float32)


def overlap(windows: Tensor, cells: int, tiles: int) -> Tensor:
    """Return the length that each tile and each cell along one side have in common: (B, tiles, cells).

    Args:
        windows: (B, 2), where each crop starts and ends, in parts of the frame's side; it may reach beyond the frame.
        cells: of a crop along this side.
        tiles: of a frame along this side.
    """
    edges = torch.linspace(0, 1, cells + 1, device=windows.device)
    edges = windows[:, :1] + (windows[:, 1:] - windows[:, :1]) * edges  # (B, cells + 1)
    borders = torch.linspace(0, 1, tiles + 1, device=windows.device)
    low = torch.maximum(edges[:, None, :-1], borders[None, :-1, None])
    high = torch.minimum(edges[:, None, 1:], borders[None, 1:, None])
    return (high - low).clamp(min=0)


def in_view(tiles: Tensor, windows: Tensor) -> Tensor:
    """Return the classes of all tiles that a crop shows any part of: (B, C) float32 of 0 and 1.

    Args:
        tiles: (B, r, c, C) of 0 and 1.
        windows: (B, 4), see `bag_loss`.
    """
    rows = overlap(windows[:, 0::2], 1, tiles.shape[1])[:, :, None]  # (B, r, 1, 1)
    columns = overlap(windows[:, 1::2], 1, tiles.shape[2])[:, None]  # (B, 1, c, 1)
    return (tiles * ((rows > 0) & (columns > 0))).amax((1, 2))


def bag_loss(maps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the loss of class maps (B, C, h, w) by the labels of tiles; see above.

    Args:
        maps: logits.
        batch: with `tiles` (B, r, c, C) of 0 and 1, `window` (B, 4): top, left, bottom and right of each crop in parts
            of its frame, and `positive` (C,) weights of positive terms.
    """
    tiles, window = batch["tiles"], batch["window"]
    rows = overlap(window[:, 0::2], maps.shape[2], tiles.shape[1])  # (B, r, h)
    columns = overlap(window[:, 1::2], maps.shape[3], tiles.shape[2])  # (B, c, w)
    area = rows.sum(2)[:, :, None] * columns.sum(2)[:, None]  # (B, r, c)
    across = torch.einsum("bjw,bkhw->bkhj", columns, maps.float())
    logits = torch.einsum("bih,bkhj->bijk", rows, across) / area.clamp(min=SMALLEST)[..., None]
    terms = F.binary_cross_entropy_with_logits(logits, tiles, reduction="none", pos_weight=batch["positive"]).mean(-1)
    return (terms * area).sum() / area.sum().clamp(min=SMALLEST)


def of_patches(batch: Mapping[str, Tensor], where: Tensor, patch: int) -> dict[str, Tensor]:
    """Return what `bag_loss` needs of a batch for patches of its images, those of an image behind each other.

    Args:
        batch: see `bag_loss`; also `image` (B, 3, S, S).
        where: (B, P, 2), the top and left edge of each patch in pixels.
        patch: side in pixels.
    """
    start, stop = batch["window"][:, None, :2], batch["window"][:, None, 2:]
    first = where.to(start) / batch["image"].shape[-1]
    last = first + patch / batch["image"].shape[-1]
    windows = torch.cat([start + (stop - start) * first, start + (stop - start) * last], 2)  # (B, P, 4)
    tiles = batch["tiles"].repeat_interleave(where.shape[1], 0)
    return {"tiles": tiles, "window": windows.flatten(0, 1), "positive": batch["positive"]}
