"""A refinement of maps with its options, as the engine calls it.

A refinement is a file of `methods/refine` with ``refine(maps, trace, options)``: maps (K, h, w) in [0, 1], the recorded
pass and the refinement's section of the parameters in, maps (K, h, w) out, not normalised, or the same object where
nothing is to be refined. ``NEEDS`` names what must be recorded; with ``mean_attention`` it is the mean attention over
the blocks that a second function, ``blocks(number, options)``, returns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import Tensor

from wildseg.cam.maps import normalise
from wildseg.cam.trace import Trace


@dataclass(frozen=True)
class Refinement:
    """`method`: a module of `methods/refine`; `options`: the section of its name, None where it has none."""

    method: ModuleType
    options: Any = None

    @property
    def needs_attention(self) -> bool:
        """Whether the mean attention over `blocks` must be recorded."""
        return "mean_attention" in self.method.NEEDS

    def blocks(self, number: int) -> Collection[int]:
        """Return the transformer blocks, of `number` in all, whose mean attention is recorded, counted from 0."""
        return self.method.blocks(number, self.options)

    def refine(self, maps: Tensor, trace: Trace) -> Tensor:
        """Return refined maps (K, h, w) in [0, 1], of the type of `maps`.

        Args:
            maps: (K, h, w) in [0, 1].
            trace: the recorded pass that they were made from.
        """
        refined = self.method.refine(maps, trace, self.options)
        return maps if refined is maps else normalise(refined).to(maps)
