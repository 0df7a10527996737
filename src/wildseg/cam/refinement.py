"""A refinement of maps with its options, as the engine calls it.

A refinement is a file of `methods/refine` of one of two kinds, with its options as keyword-only parameters:

* ``refine(maps, trace, ...)`` of one recorded pass: maps (K, h, w) in [0, 1] in, maps (K, h, w) out, not normalised, or
  the same object where nothing is to be refined. ``NEEDS`` names what it reads of the image-text model; with
  ``mean_attention`` it is the mean attention over the blocks that a second function, ``blocks(number, options)``,
  returns.
* ``refine(maps, image, ...)`` of a frame, if ``NEEDS`` has ``image``: the finished maps of all passes, (K, h, w) in
  [0, 1], and (H, W, 3) uint8 in, maps (K, h', w') out. It needs no image-text model. With ``regions`` in ``NEEDS``, the
  frame's regions and a bank of those of other frames come third, a `wildseg.cam.memory.Recollection`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from wildseg.cam.maps import EPS, normalise
from wildseg.cam.memory import Recollection
from wildseg.cam.trace import Trace


@dataclass(frozen=True)
class Refinement:
    """A module of `methods/refine`.

    method: the module. section: the section of its name, None where it has none. options: by name.
    """

    method: ModuleType
    section: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def of_image(self) -> bool:
        """Whether it refines the maps of a frame, and not those of a recorded pass."""
        return "image" in self.method.NEEDS

    @property
    def needs_regions(self) -> bool:
        """Whether it reads the regions of the frame, and a bank of others."""
        return "regions" in self.method.NEEDS

    @property
    def needs_attention(self) -> bool:
        """Whether the mean attention over `blocks` must be recorded."""
        return "mean_attention" in self.method.NEEDS

    def blocks(self, number: int) -> Collection[int]:
        """Return the transformer blocks, of `number` in all, whose mean attention is recorded, counted from 0."""
        return self.method.blocks(number, self.section)

    def refine(self, maps: Tensor, trace: Trace) -> Tensor:
        """Return refined maps (K, h, w) in [0, 1], of the type of `maps`.

        Args:
            maps: (K, h, w) in [0, 1].
            trace: the recorded pass that they were made from.
        """
        section = () if self.section is None else (self.section,)
        refined = self.method.refine(maps, trace, *section, **self.options)
        return maps if refined is maps else normalise(refined).to(maps)

    def refine_frame(self, maps: np.ndarray, image: np.ndarray, recollection: Recollection | None = None) -> np.ndarray:
        """Return refined maps (K, h', w') float32 in [0, 1], of which each has the maximum that it had.

        Args:
            maps: (K, h, w) float32 in [0, 1], K > 0.
            image: (H, W, 3) uint8.
            recollection: the regions of the frame and a bank, for a refinement that needs them.

        Raises:
            ValueError: it needs them, and there are none.
        """
        if self.needs_regions and recollection is None:
            raise ValueError("recollection: expected the regions of the frame and a bank, which this refinement reads")
        given = (recollection,) if self.needs_regions else ()
        refined = np.maximum(self.method.refine(maps, image, *given, **self.options), 0)
        peaks, found = (values.max((1, 2), keepdims=True) for values in (maps, refined))
        return np.clip(refined * (peaks / np.maximum(found, EPS)), 0, 1).astype(np.float32)


def refine_frame(
    maps: np.ndarray, image: np.ndarray, refinements: Iterable[Refinement], recollection: Recollection | None = None
) -> np.ndarray:
    """Return the maps (K, h', w') of a frame after those of `refinements` that are of an image, in their order.

    Args:
        maps: (K, h, w) float32 in [0, 1]; K may be 0.
        image: (H, W, 3) uint8.
        refinements: all of them.
        recollection: the regions of the frame and a bank, where one of them needs these.
    """
    for refinement in refinements:
        if refinement.of_image and len(maps):
            maps = refinement.refine_frame(maps, image, recollection)
    return maps
