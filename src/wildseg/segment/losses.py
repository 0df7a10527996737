"""Cross entropy over the pixels that have a label, class weights, and confidence guidance (CLIP-ES, section 3.4)."""

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
    over_all: Callable[[torch.Tensor], torch.Tensor] = lambda mass: mass,
) -> torch.Tensor:
    """Return the (weighted) mean of -log softmax(logits)[target] over the pixels that are not ignored.

    Args:
        logits: (B, C, H, W).
        target: (B, H, W) int64 ids, 255 ignore.
        weights: (C,) factor of each id, or None for 1; the mean is then a weighted one, as in PyTorch.
        over_all: from the number (or weight) of these pixels to that of all pixels which the mean is to be over, where
            this is a part of a batch: the parts' results then add up to the mean.

    Returns:
        A scalar; 0, not NaN, where every pixel is ignored.
    """
    total = functional.cross_entropy(logits.float(), target, weights, ignore_index=IGNORE, reduction="sum")
    valid = target != IGNORE
    each = valid if weights is None else valid * weights[torch.where(valid, target, 0)]
    mass = over_all(each.sum().to(total.dtype))
    return total / torch.where(mass > 0, mass, 1)


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


def only_confident(mask: np.ndarray, confidence: np.ndarray, min_confidence: float) -> np.ndarray:
    """Return the mask with every pixel of less than `min_confidence` ignored: the confidence-guided loss of CLIP-ES.

    A pixel's cross entropy counts if its confidence reaches it and is 0 else, which is what ignoring it does;
    the mean is taken over the pixels that count, as the published code does, not over all.

    Both are compared in the 8 bits in which confidence is stored, so that no pixel that reached it when it was computed
    is lost to rounding: 0.95, stored as 242 of 255, reaches a limit of 0.95, as does all from 0.9471 on.

    Args:
        mask: (H, W) uint8 ids, 255 ignore.
        confidence: (H, W) in [0, 1].
        min_confidence: 0 keeps every pixel, more than 1 none.

    Returns:
        (H, W) uint8.
    """
    return np.where(_levels(confidence) >= _levels(np.float32(min_confidence)), mask, np.uint8(IGNORE))


def _levels(confidence: np.ndarray | np.float32) -> np.ndarray:
    return np.round(np.asarray(confidence, np.float32) * 255)  # as `PseudoMasks.save_confidence` does


def forbid(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits (B, C, H, W) with every channel that is not in `ids` (k,) at the lowest finite number.

    Softmax then gives it exactly 0: an id that means nothing in a run (background, where every pixel belongs to a
    class) is neither trained nor ever predicted, and channel = id still holds.
    """
    allowed = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    allowed[ids] = True
    return logits.masked_fill(~allowed[None, :, None, None], torch.finfo(logits.dtype).min)
