"""HiResCAM (Draelos and Carin 2020, equation 3): ``L = relu(sum_k dy/dA_k * A_k)``, the gradient not averaged."""

from __future__ import annotations

from torch import Tensor

from wildseg.cam.trace import Trace

NEEDS = frozenset({"gradients"})


def cam(trace: Trace) -> Tensor:
    """Return maps (K, h, w), not normalised: each place weighted by its own gradient of the class's logit."""
    return (trace.gradients() * trace.activations).sum(1).relu()
