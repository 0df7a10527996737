"""Cross entropy: the mean of -log p(class) over all labelled pixels, with a weight for each class."""

from __future__ import annotations

import torch

from wildseg.segment.losses import Total, cross_entropy

NEEDS: frozenset[str] = frozenset()


def loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor | None,
    total: Total,
) -> dict[str, torch.Tensor]:
    """Return the named terms of the loss of one batch, or of one process's share of it.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W) int64 ids, 255 ignore.
        weights: (C,) factor of each id, or None for 1.
        total: sums a number of pixels, or their weight, over all processes.
    """
    return {"cross_entropy": cross_entropy(logits, target, weights, total)}
