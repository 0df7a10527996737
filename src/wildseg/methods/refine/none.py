"""No refinement: maps stay as the CAM method made them."""

from __future__ import annotations

from torch import Tensor

from wildseg.cam.trace import Trace

NEEDS: frozenset[str] = frozenset()


def refine(maps: Tensor, _trace: Trace) -> Tensor:
    """Return `maps` themselves, (K, h, w) in [0, 1]."""
    return maps
