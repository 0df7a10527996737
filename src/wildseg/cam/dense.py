"""What training-free dense methods have in common: from the cosines of patches and texts to maps.

They read a CLIP model as it is, but for the attention of its last block, and ask each patch what it shows:
``P = softmax(s cos)`` over classes and background phrases, ``L_c = P_c`` (SCLIP, ClearCLIP, NACLIP, MaskCLIP).
"""

from __future__ import annotations

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
    """Return the probability of each class asked about at each patch: (K, h, w) in [0, 1].

    Args:
        trace: the recorded pass.
        override: what takes the place of the last block's attention.
        method: its name, for messages.
        scale: by which cosines are multiplied before the softmax.
        competitors: the classes ``present`` in the frame, or ``all``, share the softmax with background phrases; see
            `wildseg.cam.competition.columns`.
        residual: keep the path around the attention.
        mlp: keep the block's second half.

    Raises:
        ModelError: the network has no attention.
        ParamsError: an option's value means nothing, or nothing competes.
    """
    if trace.dense is None:
        raise ModelError(f"cam.method: {method} changes the attention of the last block; this network has none")
    cosines = trace.dense(override, residual, mlp)  # (M, h, w)
    shared = columns(trace, len(cosines), competitors, method)
    probabilities = (scale * cosines[shared]).softmax(0)
    return probabilities[[shared.index(text) for text in trace.classes]]


def attention(first: Tensor, second: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``softmax(a b^T / sqrt(d) + bias)``, (T, T), of two (T, d)."""
    scores = first @ second.T * first.shape[-1] ** -0.5
    return (scores if bias is None else scores + bias).softmax(-1)
