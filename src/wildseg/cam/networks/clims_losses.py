"""Losses of CLIMS (Xie et al. 2022, arXiv:2203.02668, section 3): maps judged by what an image-text model sees in them.

A pair is an image and a class in it. Through the class's map P the model sees the foreground P * I, through 1 - P the
background. The foreground shall match the class's text (object-text matching), the background shall not
(background-text matching), and the foreground shall match no text of what co-occurs with the class (co-occurring
background suppression). Alone these would let P grow without end, so its area is a term too. Similarities are cosines,
without the model's logit scale.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LOW, HIGH = 1e-4, 0.9999  # similarities are clamped to these before the logarithm


def masked_images(
    images: Tensor, maps: Tensor, rows: Tensor, classes: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Return the foreground and the background of each pair: (M, 3, H', W') each.

    Where the map hides an image it is 0: the mean colour of the images' normalisation.

    Args:
        images: (B, 3, H, W) normalised.
        maps: (B, C, h, w) in [0, 1].
        rows: (M,) int64, the image of each pair.
        classes: (M,) int64, the class of each pair.
        size: H', W', to which both are resized, bilinear and corners on corners.
    """
    large = F.interpolate(maps, size, mode="bilinear", align_corners=True)[rows, classes][:, None]  # (M, 1, H', W')
    seen = F.interpolate(images, size, mode="bilinear", align_corners=True)[rows]  # (M, 3, H', W')
    return large * seen, (1 - large) * seen


def object_text_matching(similarity: Tensor) -> Tensor:
    """Return ``-log s`` of each pair, (M,), for the similarity (M,) of its foreground and its class's text."""
    return -similarity.clamp(LOW, HIGH).log()


def background_text_matching(similarity: Tensor) -> Tensor:
    """Return ``-log(1 - s)`` of each pair, (M,), for the similarity (M,) of its background and its class's text."""
    return -(1 - similarity.clamp(LOW, HIGH)).log()


def background_suppression(
    similarities: Tensor, related: Tensor, threshold: float | None, reduction: Literal["sum", "mean"]
) -> Tensor:
    """Return ``-log(1 - s)`` of each pair, (M,), summed or averaged over the background texts of its class.

    Args:
        similarities: (M, L) of the pairs' foregrounds with all background texts.
        related: (M, L) bool, the texts of each pair's class. A pair without any gives 0.
        threshold: only similarities above it count; None counts all.
        reduction: ``"sum"``, or ``"mean"`` over the related texts, whether they count or not.
    """
    counted = related if threshold is None else related & (similarities > threshold)
    # Below HIGH, which no image and text reach, this is not clamped: a negative similarity counts as it is.
    each = torch.where(counted, -(1 - similarities.clamp(max=HIGH)).log(), 0.0)
    return each.sum(1) if reduction == "sum" else each.sum(1) / related.sum(1).clamp(min=1)


def area(maps: Tensor) -> Tensor:
    """Return the sum over images of the mean of their maps (B, C, h, w) over all classes and cells.

    Absent classes are among them: nothing else keeps their maps low.
    """
    return maps.mean((1, 2, 3)).sum()
