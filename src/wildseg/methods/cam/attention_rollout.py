"""Attention rollout (Abnar and Zuidema 2020): how much of each patch reaches what the model pools.

``R = prod_l (A_l + I) / 2``, later blocks on the left, ``L = R[CLS, patches]``; the mean of all patches' rows where the
model pools patches. The same map for every class.
"""

from __future__ import annotations

from torch import Tensor

from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError

NEEDS = frozenset({"attention"})
CLASS_AGNOSTIC = True


def cam(trace: Trace) -> Tensor:
    """Return K times the same map, (K, h, w), not normalised.

    Raises:
        ModelError: the network has no attention.
    """
    if not trace.attention:
        raise ModelError(
            "cam.method: attention_rollout reads the attention of a vision transformer; this network has none"
        )
    height, width = trace.activations.shape[2:]
    row = trace.attention[0].new_zeros(1 + height * width)
    row[0] = 1
    row = row if trace.pooled is None else trace.pooled
    for weights in reversed(trace.attention):  # one row times a matrix, never a matrix times a matrix
        row = (row @ weights + row) / 2
    return row[1:].reshape(1, height, width).expand(len(trace.classes), -1, -1)
