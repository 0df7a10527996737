"""CAA, class-aware attention-based affinity (CLIP-ES, Lin et al. 2023, section 3.3): maps spread along attention.

The mathematics and all options are those of `wildseg.cam.affinity.Affinity`.
"""

from __future__ import annotations

from torch import Tensor

from wildseg.cam.affinity import Affinity
from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError

NEEDS = frozenset({"mean_attention"})


def blocks(number: int, **options: float) -> range:
    """Return the transformer blocks, of `number` in all, whose mean attention must be recorded, counted from 0."""
    return Affinity(**options).blocks(number)  # type: ignore[arg-type]


def refine(maps: Tensor, trace: Trace, **options: float) -> Tensor:
    """Return refined maps (K, h, w) float64, not normalised.

    Args:
        maps: (K, h, w) in [0, 1].
        trace: the recorded pass, with the mean attention over `blocks`.
        options: the fields of `Affinity`.

    Raises:
        ModelError: the network has no attention.
    """
    if trace.mean_attention is None:
        raise ModelError("cam.refine: caa spreads maps along attention; this network has none; set it to none")
    return Affinity(**options).refine(maps, trace.mean_attention)  # type: ignore[arg-type]
