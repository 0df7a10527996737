"""ClearCLIP (Lan et al. 2024): ``softmax(q q^T / sqrt d) v``, without the residual path and the block's second half."""

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
    scale: Annotated[float, Between(0.001, 10000)] = 50.0,
    competitors: Literal["present", "all"] = "present",
) -> Tensor:
    """Return maps (K, h, w) in [0, 1].

    Args:
        trace: the recorded pass.
        scale: by which cosines are multiplied before the softmax.
        competitors: see `wildseg.cam.dense.maps`.
    """
    return dense.maps(trace, query_attention, method="clearclip", scale=scale, competitors=competitors)


def query_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return the output of query-query attention: (T, d)."""
    return dense.attention(query, query) @ value
