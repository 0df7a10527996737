"""Training-free dense methods: from the cosines of patches and texts to maps.

The CLIP model is unchanged but for the attention of its last block, and each patch is classified:
``P = softmax(s cos)`` over classes and background phrases, ``L_c = P_c`` (SCLIP, ClearCLIP, NACLIP, MaskCLIP).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam.competition import columns
from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError
from wildseg.encoders.attention import AttentionOverride


def maps(
    trace: Trace,
    override: AttentionOverride,
    *,
    method: str,
    scale: float,
    competitors: str,
    residual: bool = False,
    mlp: bool = False,
) -> Tensor:
    """Return the probability of each queried class at each patch: (K, h, w) in [0, 1].

    Args:
        trace: the recorded pass.
        override: replaces the last block's attention.
        method: its name, for messages.
        scale: by which cosines are multiplied before the softmax.
        competitors: the classes ``present`` in the frame, or ``all``, share the softmax with background phrases; see
            `wildseg.cam.competition.columns`.
        residual: keep the path around the attention.
        mlp: keep the block's second half.

    Raises:
        ModelError: the network has no attention.
        ParamsError: an option has an invalid value, or no text competes.
    """
    if trace.dense is None:
        raise ModelError(f"cam.method: {method} changes the attention of the last block; this network has none")
    cosines = trace.dense(override, residual, mlp)  # (M, h, w)
    return shares(trace, cosines, method=method, scale=scale, competitors=competitors)


def shares(trace: Trace, cosines: Tensor, *, method: str, scale: float, competitors: str) -> Tensor:
    """Return the probability of each queried class, (K, h, w), from cosines (M, h, w) of places and texts.

    For the others see `maps`.

    Raises:
        ParamsError: as there.
    """
    shared = columns(trace, len(cosines), competitors, method)
    probabilities = (scale * cosines[shared]).softmax(0)
    return probabilities[[shared.index(text) for text in trace.classes]]


def attention(first: Tensor, second: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``softmax(a b^T / sqrt(d) + bias)``, (T, T), of two (T, d)."""
    scores = first @ second.T * first.shape[-1] ** -0.5
    return (scores if bias is None else scores + bias).softmax(-1)


def proxy_attention(features: Tensor, centre: float, sharpness: float) -> Tensor:
    """Return attention weights (N, N) from the cosines S of features (N, C): ``softmax((S - c mean(S)) s)``.

    Negative entries have no weight. A place that then resembles none, not even itself, attends to itself alone
    (ProxyCLIP, Lan et al. 2024, equations 5 and 6).
    """
    return centred_attention(cosines(features), centre, sharpness)


def cosines(features: Tensor) -> Tensor:
    """Return the cosines (N, N) of features (N, C)."""
    unit = F.normalize(features, dim=-1)
    return unit @ unit.T


def centred_attention(similarity: Tensor, centre: float, sharpness: float) -> Tensor:
    """Return the same from the cosines (N, N) themselves."""
    scores = (similarity - centre * similarity.mean()) * sharpness
    scores = scores.masked_fill(scores < 0, -torch.inf)
    scores.diagonal().clamp_(min=0)
    return scores.softmax(-1)
