"""From a frame and its classes to activation maps: input sizes, scales, flips, normalisation and refinement.

A method returns raw maps; every step that methods share is done here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wildseg.cam.maps import normalise, resample_maps
from wildseg.cam.memory import Recollection
from wildseg.cam.record import record_batch
from wildseg.cam.refinement import Refinement, refine_frame
from wildseg.cam.tower_state import RecordConfig
from wildseg.cam.trace import Trace
from wildseg.encoders.clip import Clip, resize

if TYPE_CHECKING:
    from wildseg.cam.params import Cam

MAX_ATTENTION_ENTRIES = 2**28  # float32 attention weights of a batch at a time: one gigabyte


@dataclass(frozen=True)
class CamConfig:
    """How activation maps are made.

    cam: all parameters, see there. method: the module of `methods/cam` that they name. refinements: those that they
    name, in order. encoder: the second encoder of a method that needs one, see `wildseg.cam.second_encoder`.
    """

    cam: Cam
    method: ModuleType
    refinements: tuple[Refinement, ...] = ()
    encoder: Callable[[Tensor], Tensor] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of the method."""
        return self.cam.options.get(self.cam.method, {})

    @property
    def record_config(self) -> RecordConfig:
        """Return what must be recorded."""
        averaged = next((one.blocks for one in self.refinements if one.needs_attention), None)
        return RecordConfig(
            "attention" in self.method.NEEDS,
            averaged,
            self.cam.pos_embed_interpolation,
            "blocks" in self.method.NEEDS,
            self.encoder,
        )


def activation_maps(
    clip: Clip,
    image: np.ndarray,
    texts: Tensor,
    classes: Sequence[int],
    num_classes: int,
    config: CamConfig,
    recollection: Recollection | None = None,
) -> np.ndarray:
    """Return one map per queried class: (K, h, w) float32 in [0, 1].

    The grid is the finest of all scales, or that of the last refinement of the frame.

    Args:
        clip: the model.
        image: (H, W, 3) uint8 RGB.
        texts: (M, d) unit vectors, classes first, then background phrases.
        classes: the K rows of `texts` that are present; may be none.
        num_classes: how many rows of `texts` are classes.
        config: method, scales, refinements.
        recollection: the regions of the frame and a bank, where a refinement needs these.
    """
    return activation_maps_of_batch(clip, [image], texts, [classes], num_classes, config, [recollection])[0]


def activation_maps_of_batch(
    clip: Clip,
    images: Sequence[np.ndarray],
    texts: Tensor,
    classes: Sequence[Sequence[int]],
    num_classes: int,
    config: CamConfig,
    recollections: Sequence[Recollection | None] = (),
) -> list[np.ndarray]:
    """Return what `activation_maps` returns for each of several images of one size, which pass the network together."""
    recollections = recollections or [None] * len(images)
    patch = clip.tower().patch
    sizes = [input_size(images[0].shape[:2], patch, scale, config.cam.max_side) for scale in config.cam.scales]
    grid = max((height // patch[0], width // patch[1]) for height, width in sizes)
    most = max(1, MAX_ATTENTION_ENTRIES // (grid[0] * grid[1]) ** 2)
    if len(images) > most:
        parts = [slice(start, start + most) for start in range(0, len(images), most)]
        some = [
            activation_maps_of_batch(clip, images[p], texts, classes[p], num_classes, config, recollections[p])
            for p in parts
        ]
        return [maps for part in some for maps in part]
    done = [np.zeros((0, *grid), np.float32) for _ in images]
    numbers = [number for number, present in enumerate(classes) if present]
    if not numbers:
        return done
    queried = [classes[number] for number in numbers]
    views: list[list[Tensor]] = [[] for _ in numbers]
    for size in sizes:
        pixels = clip.pixels([resize(images[number], size) for number in numbers])
        for flipped in (False, True) if config.cam.flip else (False,):
            traces = record_batch(
                clip, pixels.flip(3) if flipped else pixels, texts, queried, num_classes, config.record_config
            )
            for own, trace in zip(views, traces, strict=True):
                maps = maps_of(trace, config)
                own.append(maps.flip(2) if flipped else maps)
    for number, raw in zip(numbers, views, strict=True):
        # A second encoder's grid may be finer than that of the image tower.
        finest = max(grid, *((maps.shape[1], maps.shape[2]) for maps in raw))
        own = [resample_maps(maps, finest) for maps in raw]
        averaged = own[0] if len(own) == 1 else normalise(torch.stack(own).mean(0))
        done[number] = refine_frame(averaged.cpu().numpy(), images[number], config.refinements, recollections[number])
    return done


def maps_of(trace: Trace, config: CamConfig) -> Tensor:
    """Return the maps of one recorded pass: (K, h, w) in [0, 1] on its own grid, or on that of a second encoder.

    Refined ones are on its own.

    Raises:
        ModelError: a refinement needs attention, and the network has none.
    """
    maps = normalise(config.method.cam(trace, **config.options))
    refinements = [one for one in config.refinements if not one.of_image]
    if refinements:
        maps = resample_maps(maps, (trace.activations.shape[2], trace.activations.shape[3]))
    for refinement in refinements:
        maps = refinement.refine(maps, trace)
    return maps


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
