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
from torch import Tensor

from wildseg.cam.affinity import Affinity
from wildseg.cam.maps import normalise, resample_maps
from wildseg.cam.record import record_batch
from wildseg.cam.tower_state import RecordConfig
from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError
from wildseg.encoders.clip import Clip, resize

MAX_ATTENTION_ENTRIES = 2**28  # numbers of attention that the images of a batch may hold together: a gigabyte


@dataclass(frozen=True)
class CamConfig:
    """How maps are made.

    method: a module of `cam/methods`, options: its own. refine: spreads maps along attention, or None. scales: the
    frame is looked at in each of these sizes. flip: and mirrored. max_side: frames are first shrunk so that their
    longer side has at most this many pixels. positions: how position embeddings are brought to the frame's grid.
    """

    method: ModuleType
    options: Mapping[str, Any] = field(default_factory=dict)
    refine: Affinity | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = False
    max_side: int | None = None
    positions: str = "bicubic"

    @property
    def record_config(self) -> RecordConfig:
        """Say what of the network's attention must be recorded."""
        averaged = self.refine.blocks if self.refine else None
        return RecordConfig("attention" in self.method.NEEDS, averaged, self.positions)


def activation_maps(
    clip: Clip, image: np.ndarray, texts: Tensor, classes: Sequence[int], num_classes: int, config: CamConfig
) -> np.ndarray:
    """Return one map per class asked about: (K, h, w) float32 in [0, 1], on the finest grid of all scales.

    Args:
        clip: the model.
        image: (H, W, 3) uint8 RGB.
        texts: (M, d) unit vectors, classes first, then background phrases.
        classes: the K rows of `texts` that are present; may be none.
        num_classes: how many rows of `texts` are classes.
        config: method, scales, refinement.
    """
    return activation_maps_of_batch(clip, [image], texts, [classes], num_classes, config)[0]


def activation_maps_of_batch(
    clip: Clip,
    images: Sequence[np.ndarray],
    texts: Tensor,
    classes: Sequence[Sequence[int]],
    num_classes: int,
    config: CamConfig,
) -> list[np.ndarray]:
    """Return what `activation_maps` returns for each of several images of one size, which pass the network together."""
    patch = clip.tower().patch
    sizes = [input_size(images[0].shape[:2], patch, scale, config.max_side) for scale in config.scales]
    grid = max((height // patch[0], width // patch[1]) for height, width in sizes)
    most = max(1, MAX_ATTENTION_ENTRIES // (grid[0] * grid[1]) ** 2)
    if len(images) > most:
        parts = [slice(start, start + most) for start in range(0, len(images), most)]
        some = [activation_maps_of_batch(clip, images[p], texts, classes[p], num_classes, config) for p in parts]
        return [maps for part in some for maps in part]
    done = [np.zeros((0, *grid), np.float32) for _ in images]
    numbers = [number for number, present in enumerate(classes) if present]
    if not numbers:
        return done
    asked = [classes[number] for number in numbers]
    looks: list[list[Tensor]] = [[] for _ in numbers]
    for size in sizes:
        pixels = clip.pixels([resize(images[number], size) for number in numbers])
        for flipped in (False, True) if config.flip else (False,):
            traces = record_batch(
                clip, pixels.flip(3) if flipped else pixels, texts, asked, num_classes, config.record_config
            )
            for own, trace in zip(looks, traces, strict=True):
                maps = maps_of(trace, config)
                own.append(resample_maps(maps.flip(2) if flipped else maps, grid))
    for number, own in zip(numbers, looks, strict=True):
        done[number] = (own[0] if len(own) == 1 else normalise(torch.stack(own).mean(0))).cpu().numpy()
    return done


def maps_of(trace: Trace, config: CamConfig) -> Tensor:
    """Return the maps of one recorded pass: (K, h, w) in [0, 1] on its own grid.

    Raises:
        ModelError: attention is wanted of a network that has none.
    """
    maps = normalise(config.method.cam(trace, **config.options))
    if config.refine is None:
        return maps
    if trace.mean_attention is None:
        raise ModelError("cam.refine: caa spreads maps along attention; this network has none; set it to none")
    return normalise(config.refine.refine(maps, trace.mean_attention)).to(maps)


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
