"""From a frame and its classes to activation maps: sizes, scales, flips, normalising and refining, for any method.

A method returns raw evidence; everything that methods have in common happens here, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam.affinity import Affinity
from wildseg.cam.trace import Trace, record_clip
from wildseg.encoders.clip import Clip, resize

EPS = 1e-7  # as in the grad-cam package, so that maps agree with it digit by digit


@dataclass(frozen=True)
class Recipe:
    """How maps are made.

    method: a module of `cam/methods`, options: its own. refine: spreads maps along attention, or None. scales: the
    frame is looked at in each of these sizes. flip: and mirrored. max_side: frames are first shrunk so that their
    longer side has at most this many pixels.
    """

    method: ModuleType
    options: Mapping[str, Any] = field(default_factory=dict)
    refine: Affinity | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = False
    max_side: int | None = None

    @property
    def needs_attention(self) -> bool:
        """Say whether the attention of each block must be recorded."""
        return self.refine is not None or "attention" in self.method.NEEDS


def activation_maps(
    clip: Clip, image: np.ndarray, texts: Tensor, classes: Sequence[int], num_classes: int, recipe: Recipe
) -> np.ndarray:
    """Return one map per class asked about: (K, h, w) float32 in [0, 1], on the finest grid of all scales.

    Args:
        clip: the model.
        image: (H, W, 3) uint8 RGB.
        texts: (M, d) unit vectors, classes first, then background phrases.
        classes: the K rows of `texts` that are present; may be none.
        num_classes: how many rows of `texts` are classes.
        recipe: method, scales, refinement.
    """
    sizes = [input_size(image.shape[:2], clip.vit.patch, scale, recipe.max_side) for scale in recipe.scales]
    grid = max((height // clip.vit.patch[0], width // clip.vit.patch[1]) for height, width in sizes)
    if not classes:
        return np.zeros((0, *grid), np.float32)
    looks = []
    for size in sizes:
        pixels = clip.pixels([resize(image, size)])
        for flipped in (False, True) if recipe.flip else (False,):
            seen = pixels.flip(3) if flipped else pixels
            trace = record_clip(clip, seen, texts, classes, num_classes, recipe.needs_attention)
            maps = maps_of(trace, recipe)
            looks.append(_fit(maps.flip(2) if flipped else maps, grid))
    maps = looks[0] if len(looks) == 1 else normalise(torch.stack(looks).mean(0))
    return maps.cpu().numpy()


def maps_of(trace: Trace, recipe: Recipe) -> Tensor:
    """Return the maps of one recorded pass: (K, h, w) in [0, 1] on its own grid."""
    maps = normalise(recipe.method.cam(trace, **recipe.options))
    if recipe.refine is None:
        return maps
    return normalise(recipe.refine.refine(maps, trace.attention))


def normalise(maps: Tensor) -> Tensor:
    """Stretch each of (K, h, w) to [0, 1]: ``(L - min) / (1e-7 + max(L - min))``; a constant map becomes zero."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (EPS + maps.amax((1, 2), keepdim=True))


def input_size(
    shape: tuple[int, int], patch: tuple[int, int], scale: float = 1.0, max_side: int | None = None
) -> tuple[int, int]:
    """Return the size (H', W') at which the network sees a frame of `shape`: rounded up to whole patches.

    A frame whose longer side exceeds `max_side` is shrunk to it before `scale` is applied.
    """
    shrink = min(1.0, max_side / max(shape)) if max_side else 1.0
    # Rounding first: 0.7 * 240 / 8 is a hair above 21, and must not become 22 patches.
    cells = [max(1, math.ceil(round(n * shrink * scale / p, 6))) for n, p in zip(shape, patch, strict=True)]
    return cells[0] * patch[0], cells[1] * patch[1]


def _fit(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    if maps.shape[1:] == grid:
        return maps
    return F.interpolate(maps[None], grid, mode="bilinear", align_corners=False)[0]
