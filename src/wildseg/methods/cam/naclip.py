"""NACLIP (Hajimiri et al. 2025): ``softmax(k k^T / sqrt d + omega) v``, and ``omega`` draws patches to neighbours.

``omega_ij = exp(-|pos_i - pos_j|^2 / (2 sigma^2))`` between patches and 0 to and from the class token; without the
residual path and the block's second half.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from wildseg.cam import dense
from wildseg.cam.neighbourhood import neighbourhood
from wildseg.cam.trace import Trace
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between

NEEDS = frozenset({"dense", "competition"})


def cam(
    trace: Trace,
    *,
    scale: Annotated[float, Between(0.001, 10000)] = 40.0,
    competitors: Literal["present", "all"] = "present",
    sigma: Annotated[float, Between(0.01, 10000)] = 5.0,
) -> Tensor:
    """Return maps (K, h, w) in [0, 1].

    Args:
        trace: the recorded pass.
        scale: by which cosines are multiplied before the softmax.
        competitors: see `wildseg.cam.dense.maps`.
        sigma: width of the neighbourhood in patches, above 0.
    """
    if not sigma > 0:
        raise ParamsError(f"cam.options.naclip.sigma: expected a number above 0, found {sigma!r}")
    height, width = trace.activations.shape[2:]
    near = neighbourhood(height, width, sigma).to(trace.activations)

    def neighbour_attention(_query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return dense.attention(key, key, near) @ value

    return dense.maps(trace, neighbour_attention, method="naclip", scale=scale, competitors=competitors)
