"""Soft Dice loss (Milletari et al. 2016, arXiv:1606.04797; linear denominator): the overlap of each class."""

from __future__ import annotations

from typing import Annotated

import torch

from wildseg.core.classes import IGNORE
from wildseg.core.limits import Between
from wildseg.segment.losses import Total, in_single
from wildseg.segment.losses import cross_entropy as mean_cross_entropy

NEEDS: frozenset[str] = frozenset()


def loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor | None,
    total: Total,
    *,
    cross_entropy: Annotated[float, Between(0, 1000)] = 0.0,
) -> dict[str, torch.Tensor]:
    """Return the Dice term, and `cross_entropy` times the cross entropy; see `methods.losses.cross_entropy`.

    The Dice coefficient of a class is 2 sum p y / sum (p + y) over the labelled pixels of the whole batch, of which p
    is the probability of the class and y whether it is the label. The loss is the (weighted) mean of 1 minus it over
    the classes that the labels of the batch show.
    """
    probability = in_single(logits).softmax(1)
    valid = target != IGNORE
    label = torch.zeros_like(probability).scatter_(1, torch.where(valid, target, 0)[:, None], 1.0) * valid[:, None]
    axes = (0, 2, 3)
    overlap = (probability * label).sum(axes)  # (C,), of this process's part, as are the next two
    pixels = label.sum(axes)
    size = (probability * valid[:, None]).sum(axes) + pixels

    whole = total(torch.stack([overlap, size, pixels]).detach())
    shown = whole[2] > 0
    all_overlap, all_size, all_pixels = torch.where(shown, whole, 1)
    # 1 - 2 I / S of the sums over all processes. Each has its part of the value; the last summand is 0 and has the part
    # of the gradient that comes through S, since no gradient passes `total`.
    part = pixels / all_pixels - 2 * overlap / all_size + 2 * all_overlap / all_size**2 * (size - size.detach())
    factors = shown.to(part.dtype) if weights is None else shown * weights
    mass = factors.sum()
    terms = {"dice": (factors * part).sum() / torch.where(mass > 0, mass, 1)}
    if cross_entropy:
        terms["cross_entropy"] = cross_entropy * mean_cross_entropy(logits, target, weights, total)
    return terms
