"""Supervision of partial class scores: which classes a bin holds, by its mask, and the focal loss against it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from wildseg.core.classes import IGNORE
from wildseg.segment.pcaa.attention import Bins

LEAST = 0.01  # share of a bin from which a class certainly counts as present


def bin_labels(mask: Tensor, num_ids: int, bins: Bins, least: float = LEAST) -> Tensor:
    """Return whether each class is present in each bin: 1 yes, 0 no, 255 undecided.

    A class is present if it covers at least `least` of the bin's labelled pixels, and undecided if it covers less.
    In a bin without a labelled pixel every class is undecided. (As published, pixels of 255 would be labelled ones of
    no class: a bin of nothing else would hold no class for certain.)

    Args:
        mask: (B, H, W) ids, 255 ignore; H and W multiples of the rows and columns of bins.
        num_ids: K.
        bins: rows and columns.
        least: share of a bin, in [0, 1].

    Returns:
        (B, N, K) int64, bins in row-major order.
    """
    rows, columns = bins
    blocks = mask.unflatten(2, (columns, -1)).unflatten(1, (rows, -1))  # (B, rows, H / rows, columns, W / columns)
    pixels = torch.stack([(blocks == index).sum((2, 4)) for index in range(num_ids)], -1).flatten(1, 2)  # (B, N, K)
    labelled = pixels.sum(2, keepdim=True)
    labels = (pixels > 0).long()
    undecided = (labelled == 0) | ((pixels > 0) & (pixels < least * labelled))
    return labels.masked_fill(undecided, IGNORE)


def focal(logits: Tensor, labels: Tensor, total: Callable[[Tensor], Tensor], gamma: float = 2.0) -> Tensor:
    """Return the focal loss ``-(1 - p)^gamma log p``, p the probability of the right answer: a mean over classes.

    For each class the mean over bins and images is taken, without those of 255, and then the mean over the classes
    that have any left; so a rare class counts as much as a common one (Lin et al. 2017, arXiv:1708.02002, without
    their alpha).

    Args:
        logits: (B, N, K) of the partial class scores.
        labels: (B, N, K) 0, 1 or 255.
        total: sums the number of elements of a mean over all processes, see `wildseg.segment.objective.Criterion`.
        gamma: 0 gives the binary cross entropy.

    Returns:
        A scalar; 0 where every label is 255.
    """
    valid = labels != IGNORE
    right = torch.where(labels == 1, logits, -logits)  # the logit of the right answer
    losses = -functional.logsigmoid(right) * torch.sigmoid(-right) ** gamma
    summed = torch.where(valid, losses, 0).sum((0, 1))  # (K,)
    number = total(valid.sum((0, 1)).to(summed.dtype))
    return (summed / number.clamp(min=1)).sum() / (number > 0).sum().clamp(min=1)
