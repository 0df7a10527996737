"""XGrad-CAM (Fu et al. 2020): each channel weighted by its gradient, averaged where the channel is active.

``w_k = sum_u g_k(u) A_k(u) / sum_u A_k(u)``, ``L = relu(sum_k w_k A_k)``: the weights for which the channels' shares of
the logit add up to it, as far as one weight a channel can.
"""

from __future__ import annotations

from torch import Tensor

from wildseg.cam.trace import Trace

NEEDS = frozenset({"gradients"})

EPS = 1e-7  # as in the grad-cam package; only a channel that sums to exactly -1e-7 would divide by zero


def cam(trace: Trace) -> Tensor:
    """Return maps (K, h, w), not normalised."""
    sums = trace.activations.sum((2, 3), keepdim=True)  # (1, C, 1, 1)
    weights = (trace.gradients() * trace.activations).sum((2, 3), keepdim=True) / (sums + EPS)  # (K, C, 1, 1)
    return (weights * trace.activations).sum(1).relu()
