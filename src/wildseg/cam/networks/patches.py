"""Square patches of training images: corners and random places, random places alone, or an even grid."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["corners", "random", "grid"]


def places(images: int, number: int, size: int, patch: int, layout: Layout) -> Tensor:
    """Return where the patches of each image begin; what is random is drawn from torch's generator of the CPU.

    Args:
        images: B.
        number: P, patches of an image.
        size: side of the images in pixels.
        patch: side of the patches in pixels, at most `size`.
        layout: ``corners``, the four corners, then random places; ``random``; or ``grid``, see `grid`.

    Returns:
        (B, P, 2) int64 on the CPU: the top and left edge of each patch.
    """
    spare = size - patch
    if layout == "grid":
        return grid(number, spare).expand(images, -1, -1)
    drawn = torch.randint(0, spare + 1, (images, number - (4 if layout == "corners" else 0), 2))
    if layout == "random":
        return drawn
    corners = torch.tensor([[0, 0], [0, spare], [spare, 0], [spare, spare]])
    return torch.cat([corners.expand(images, -1, -1), drawn], 1)


def grid(number: int, spare: int) -> Tensor:
    """Return (P, 2) tops and lefts of P places in r rows of c, evenly from one edge to the other; r <= c, r maximal.

    Four places are the corners, six are two rows of three. A single row or column lies in the middle.
    """
    rows = max(r for r in range(1, math.isqrt(number) + 1) if number % r == 0)
    tops, lefts = _even(rows, spare), _even(number // rows, spare)
    return torch.cartesian_prod(tops, lefts)


def _even(number: int, spare: int) -> Tensor:
    if number == 1:
        return torch.tensor([spare // 2])
    return torch.tensor([round(spare * step / (number - 1)) for step in range(number)])


def cut(images: Tensor, where: Tensor, patch: int) -> Tensor:
    """Return the patches (B * P, C, patch, patch) of images (B, C, S, S), those of an image behind each other.

    Args:
        images: (B, C, S, S).
        where: (B, P, 2) as of `places`.
        patch: side in pixels.
    """
    pairs = zip(images, where.tolist(), strict=True)
    return torch.stack([image[:, y : y + patch, x : x + patch] for image, all_of in pairs for y, x in all_of])


def boxes(where: Tensor, patch: int) -> Tensor:
    """Return the patches as (B * P, 5) float32: number of the image, then x1, y1, x2, y2 in pixels, ends excluded."""
    tops, lefts = where.flatten(0, 1).float().unbind(1)
    number = torch.arange(len(where), dtype=torch.float32).repeat_interleave(where.shape[1])
    return torch.stack([number, lefts, tops, lefts + patch, tops + patch], 1)
