"""Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): ``L = relu(sum_k w_k A_k)``, ``w_k`` the mean of ``dy/dA_k``."""

from __future__ import annotations

from torch import Tensor

from wildseg.cam.trace import Trace

NEEDS = frozenset({"gradients"})


def cam(trace: Trace) -> Tensor:
    """Return maps (K, h, w), not normalised: channels weighted by the mean gradient of the class's logit."""
    weights = trace.gradients().mean((2, 3), keepdim=True)  # (K, C, 1, 1)
    return (weights * trace.activations).sum(1).relu()
