"""SCLIP (Wang et al. 2024): correlative self-attention, ``[softmax(q q^T / sqrt d) + softmax(k k^T / sqrt d)] v``."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from wildseg.cam import dense
from wildseg.cam.trace import Trace
from wildseg.core.limits import Between

NEEDS = frozenset({"dense", "competition"})


def cam(
    trace: Trace,
    *,
    scale: Annotated[float, Between(0.001, 10000)] = 40.0,
    competitors: Literal["present", "all"] = "present",
) -> Tensor:
    """Return maps (K, h, w) in [0, 1]; the residual path and the second half of the block stay.

    Args:
        trace: the recorded pass.
        scale: by which cosines are multiplied before the softmax.
        competitors: see `wildseg.cam.dense.maps`.
    """
    return dense.maps(
        trace, correlative_attention, method="sclip", scale=scale, competitors=competitors, residual=True, mlp=True
    )


def correlative_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the sum, not the mean, of both attentions' outputs: (T, d)."""
    return (dense.attention(query, query) + dense.attention(key, key)) @ value
