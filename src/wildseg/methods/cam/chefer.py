"""Gradient-weighted attention (Chefer et al. 2021): relevance that each block's attention carries towards the class.

``R <- R + mean_heads(relu(dy/dA_l * A_l)) R`` over the blocks in forward order from ``R = I``, ``L = R[CLS, patches]``;
the mean of all patches' rows where the model pools patches.
"""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from wildseg.cam.trace import Trace
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Count

NEEDS = frozenset({"attention_gradients"})


def cam(trace: Trace, *, layers: Count | None = None) -> Tensor:
    """Return maps (K, h, w), not normalised.

    Args:
        trace: the recorded pass.
        layers: how many blocks to go through, counted from the last; None for all. The authors' demonstration with
            CLIP goes through the last alone.

    Raises:
        ModelError: the network has no attention.
        ParamsError: an option's value means nothing.
    """
    if layers is not None and (not isinstance(layers, int) or layers < 1):
        raise ParamsError(f"cam.options.chefer.layers: expected a whole number from 1 or null, found {layers!r}")
    height, width = trace.activations.shape[2:]
    start = trace.activations.new_zeros(1 + height * width)
    start[0] = 1
    start = start if trace.pooled is None else trace.pooled
    # Rows of R are read from the left: a row a class times a matrix a block, the last block first.
    rows = start.repeat(len(trace.classes), 1)  # (K, 1 + h*w)
    for block in islice(trace.attention_gradients(), layers):
        carried = torch.zeros_like(rows)
        for head in range(block.heads):
            attention = block.attention(head)
            for index, row in enumerate(rows):
                carried[index] += row @ (block.gradient(index, head) * attention).relu()
        rows = rows + carried / block.heads
    return (rows - start)[:, 1:].unflatten(1, (height, width))
