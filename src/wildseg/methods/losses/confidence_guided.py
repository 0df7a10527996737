"""Confidence-guided loss of CLIP-ES (Lin et al. 2023, arXiv:2212.09506, section 3.4): certain pixels alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from wildseg.core.classes import IGNORE
from wildseg.segment.losses import Total, cross_entropy, weight_of_pixels

NEEDS = frozenset({"confidence"})


def loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor | None,
    total: Total,
    *,
    mean: Literal["certain", "all"] = "certain",
) -> dict[str, torch.Tensor]:
    """Return the only term, the cross entropy of the pixels that `select` left; see `methods.losses.cross_entropy`.

    Their `mean` is over these pixels, as in the published code, or over all pixels of the batch, as in the paper, where
    an uncertain pixel has a loss of 0: a batch of few certain pixels then has a small gradient.
    """
    value = cross_entropy(logits, target, weights, total)
    if mean == "all":
        each = torch.stack([weight_of_pixels(target, weights).sum(), torch.ones_like(target).sum()])
        certain, pixels = total(each.to(value.dtype))
        value = value * certain / pixels
    return {"cross_entropy": value}


def select(mask: np.ndarray, confidence: np.ndarray, min_confidence: float) -> np.ndarray:
    """Return the mask with every pixel of less confidence than `min_confidence`, the paper's mu, ignored.

    A pixel's cross entropy counts if its confidence reaches it and is 0 else, which is what ignoring it does.

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
