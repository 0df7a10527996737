"""What segmentation losses share: cross entropy over labelled pixels, class weights, and invalid classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from wildseg.core.classes import IGNORE

CAP = 8.0  # a class of a few pixels shall not outweigh all others


def cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor | None = None,
    total: Callable[[torch.Tensor], torch.Tensor] = lambda mass: mass,
) -> torch.Tensor:
    """Return the (weighted) mean of -log softmax(logits)[target] over the pixels that are not ignored.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W) int64 ids, 255 ignore.
        weights: (C,) factor of each id, or None for 1; the mean is then a weighted one, as in PyTorch.
        total: from the number (or weight) of these pixels to that of all pixels of the mean, where this is a part of a
            batch: the parts' results then add up to the mean.

    Returns:
        A scalar; 0, not NaN, where every pixel is ignored.
    """
    summed = functional.cross_entropy(logits.float(), target, weights, ignore_index=IGNORE, reduction="sum")
    valid = target != IGNORE
    each = valid if weights is None else valid * weights[torch.where(valid, target, 0)]
    mass = total(each.sum().to(summed.dtype))
    return summed / torch.where(mass > 0, mass, 1)


def sqrt_inverse_weights(counts: np.ndarray) -> np.ndarray:
    """Return the weight of each id, proportional to 1 / sqrt(frequency), at most 8.

    They are scaled so that the mean over all pixels is 1 before the largest are capped; an id without a pixel gets 0.

    Args:
        counts: (C,) pixels of each id in the training masks.

    Returns:
        (C,) float64.
    """
    weights = np.zeros(len(counts))
    seen = counts > 0
    if not seen.any():
        return weights
    frequency = counts[seen] / counts[seen].sum()
    # sum_c f_c * (f_c ** -1/2) / k = 1 gives k = sum_c sqrt(f_c)
    weights[seen] = frequency**-0.5 / np.sqrt(frequency).sum()
    return np.minimum(weights, CAP)


def mask_invalid_classes(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits (B, C, H, W) with every channel that is not in `ids` (k,) at the lowest finite number.

    Its softmax is then exactly 0: an id without a meaning in this run (background, where every pixel belongs to a
    class) is neither trained nor predicted, and channel = id still holds.
    """
    allowed = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    allowed[ids] = True
    return logits.masked_fill(~allowed[None, :, None, None], torch.finfo(logits.dtype).min)
