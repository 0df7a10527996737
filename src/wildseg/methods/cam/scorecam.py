"""Score-CAM (Wang et al. 2020): each channel weighted by what the class scores when only the channel is seen.

``H_k``: ``A_k`` enlarged and stretched to [0, 1]; ``w = softmax_k(y_c(x * H_k))``, ``L = relu(sum_k w_k A_k)``. One
forward pass for each channel, so that it costs hundreds of times what a gradient costs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError, ParamsError, one_of
from wildseg.core.limits import Between

NEEDS = frozenset({"rescore"})

EPS = 1e-8  # as in the grad-cam package: a channel that is the same everywhere masks all
SCORES = ("logit", "probability")


def cam(
    trace: Trace,
    *,
    score: Literal["logit", "probability"] = "logit",
    batch: Annotated[int, Between(1, 1024)] = 16,
) -> Tensor:
    """Return maps (K, h, w), not normalised.

    Args:
        trace: the recorded pass.
        score: the class's ``logit``, as in the paper, or its ``probability`` among all texts. CLIP multiplies its
            logits by about 100, so that the softmax over channels picks a few of them.
        batch: masked images per forward pass.

    Raises:
        ModelError: the trace has no `rescore`.
        ParamsError: an option's value means nothing.
    """
    one_of("cam.options.scorecam.score", score, SCORES)
    if not isinstance(batch, int) or batch < 1:
        raise ParamsError(f"cam.options.scorecam.batch: expected a whole number from 1, found {batch!r}")
    if trace.rescore is None:
        raise ModelError("cam.method: scorecam scores masked images, which this trace does not support")
    seen = torch.cat([trace.rescore(_masks(part, trace.size)) for part in trace.activations[0].split(batch)])  # (C, M)
    seen = seen.softmax(1) if score == "probability" else seen
    weights = seen[:, list(trace.classes)].softmax(0)  # (C, K)
    return torch.einsum("ck,chw->khw", weights, trace.activations[0]).relu()


def _masks(channels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks (n, H', W') in [0, 1] from channels (n, h, w)."""
    # Corners on corners, as the authors and the grad-cam package enlarge.
    large = F.interpolate(channels[None], size, mode="bilinear", align_corners=True)[0]
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return (large - low) / (high - low + EPS)
