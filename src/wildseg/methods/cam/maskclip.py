"""MaskCLIP (Zhou et al. 2022): every patch attends to itself alone, ``W_o v + b_o`` in place of the last attention."""

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
    scale: Annotated[float, Between(0.001, 10000)] = 100.0,
    competitors: Literal["present", "all"] = "present",
    strict: bool = False,
) -> Tensor:
    """Return maps (K, h, w) in [0, 1].

    Args:
        trace: the recorded pass.
        scale: by which cosines are multiplied before the softmax.
        competitors: see `wildseg.cam.dense.maps`.
        strict: drop the residual path and the second half of the block, as in the paper; its code has both.
    """
    return dense.maps(
        trace, lambda q, k, v: v, method="maskclip", scale=scale, competitors=competitors,
        residual=not strict, mlp=not strict,
    )  # fmt: skip
