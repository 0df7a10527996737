"""What segmentation losses share: means over labelled pixels, cross entropy, class weights, and invalid classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from wildseg.core.classes import IGNORE

CAP = 8.0  # a class of a few pixels shall not outweigh all others
Total = Callable[[torch.Tensor], torch.Tensor]


def cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor | None = None,
    total: Total = lambda mass: mass,
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
    summed = functional.cross_entropy(in_single(logits), target, weights, ignore_index=IGNORE, reduction="sum")
    mass = total(weight_of_pixels(target, weights).sum().to(summed.dtype))
    return summed / torch.where(mass > 0, mass, 1)


def mean_over_labelled(
    values: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None, total: Total
) -> torch.Tensor:
    """Return the (weighted) mean of a value of each pixel (B, H, W) over the pixels that are not ignored.

    Arguments and result are those of `cross_entropy`; the values of ignored pixels must be finite, and count nothing.
    """
    each = weight_of_pixels(target, weights).to(values.dtype)
    mass = total(each.sum())
    return (values * each).sum() / torch.where(mass > 0, mass, 1)


def weight_of_pixels(target: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Return (B, H, W): the factor of each pixel's id, 1 without `weights`, and 0 where it is ignored."""
    valid = target != IGNORE
    return valid if weights is None else valid * weights[torch.where(valid, target, 0)]


def of_target(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return (B, H, W): of scores (B, C, H, W) that of each pixel's id; of an ignored pixel that of id 0."""
    return scores.gather(1, torch.where(target != IGNORE, target, 0)[:, None])[:, 0]


def in_single(logits: torch.Tensor) -> torch.Tensor:
    """Return logits in single precision, or double if they are: half is too coarse for sums over pixels."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def sqrt_inverse_weights(counts: np.ndarray) -> np.ndarray:
    """Return the weight of each id, proportional to 1 / sqrt(frequency), at most 8.

    They are scaled so that the mean over all pixels is 1 before the largest are capped; an id without a pixel gets 0.

    Args:
        counts: (C,) pixels of each id in the training masks.

    Returns:
        (C,) float64.
    """
    # sum_c f_c * (f_c ** -1/2) / k = 1 gives k = sum_c sqrt(f_c)
    return _capped(counts, lambda _pixels, frequency: frequency**-0.5 / np.sqrt(frequency).sum())


def class_balanced_weights(counts: np.ndarray, beta: float) -> np.ndarray:
    """Return the weight of each id, proportional to the inverse of its effective number of pixels, at most 8.

    The effective number of n samples is (1 - beta^n) / (1 - beta) (Cui et al. 2019, arXiv:1901.05555, equation 2): n
    for beta near 1, and 1 for 0, where all weights are equal. Scale and cap are those of `sqrt_inverse_weights`.

    Args:
        counts: (C,) pixels of each id in the training masks.
        beta: in [0, 1); 1 / (1 - beta) is the number of pixels of a class beyond which more say little new.

    Returns:
        (C,) float64.
    """
    log_beta = np.log(beta) if beta > 0 else -np.inf

    def scaled(pixels: np.ndarray, frequency: np.ndarray) -> np.ndarray:
        # By expm1: 1 - beta ** n would round to 0 for few pixels of a beta near 1.
        inverse = (1 - beta) / -np.expm1(pixels * log_beta)
        weights: np.ndarray = inverse / (frequency * inverse).sum()
        return weights

    return _capped(counts, scaled)


def _capped(counts: np.ndarray, scaled: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return weights (C,): at most `CAP`, `scaled` of pixels and frequencies of the ids that have any, 0 of others."""
    weights = np.zeros(len(counts))
    seen = counts > 0
    if seen.any():
        weights[seen] = scaled(counts[seen], counts[seen] / counts[seen].sum())
    return np.minimum(weights, CAP)


def mask_invalid_classes(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the logits (B, C, H, W) with every channel that is not in `ids` (k,) at the lowest finite number.

    Its softmax is then exactly 0: an id without a meaning in this run (background, where every pixel belongs to a
    class) is neither trained nor predicted, and channel = id still holds.
    """
    allowed = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    allowed[ids] = True
    return logits.masked_fill(~allowed[None, :, None, None], torch.finfo(logits.dtype).min)
