"""LayerCAM (Jiang et al. 2021, equations 5 and 6): ``L = relu(sum_k relu(dy/dA_k) * A_k)``."""

from __future__ import annotations

from torch import Tensor

from wildseg.cam.trace import Trace

NEEDS = frozenset({"gradients"})


def cam(trace: Trace) -> Tensor:
    """Return maps (K, h, w), not normalised: each place weighted by its own gradient where that is positive."""
    return (trace.gradients().relu() * trace.activations).sum(1).relu()
