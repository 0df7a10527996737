"""CAA, class-aware attention-based affinity (CLIP-ES, Lin et al. 2023, section 3.3): maps spread along attention.

The mathematics is that of `wildseg.cam.affinity`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from wildseg.cam import affinity
from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError

if TYPE_CHECKING:
    from wildseg.cam.params import Caa

NEEDS = frozenset({"mean_attention"})


def blocks(number: int, options: Caa) -> range:
    """Return the transformer blocks, of `number` in all, whose mean attention must be recorded, counted from 0."""
    return affinity.blocks(number, options)


def refine(maps: Tensor, trace: Trace, options: Caa) -> Tensor:
    """Return refined maps (K, h, w) float64, not normalised.

    Args:
        maps: (K, h, w) in [0, 1].
        trace: the recorded pass, with the mean attention over `blocks`.
        options: the section cam.caa.

    Raises:
        ModelError: the network has no attention.
    """
    if trace.mean_attention is None:
        raise ModelError("cam.refine: caa spreads maps along attention; this network has none; set it to none")
    return affinity.refine(maps, trace.mean_attention, options)
