"""Generalised cross entropy (Zhang and Sabuncu 2018, arXiv:1805.07836, equation 6): between cross entropy and MAE."""

from __future__ import annotations

from typing import Annotated

import torch

from wildseg.core.limits import Between
from wildseg.segment.losses import Total, in_single, mean_over_labelled, of_target

NEEDS: frozenset[str] = frozenset()


def loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor | None,
    total: Total,
    *,
    q: Annotated[float, Between(0.01, 1)] = 0.7,
) -> dict[str, torch.Tensor]:
    """Return the only term, the mean of (1 - p^q) / q of the label's probability p; see `methods.losses.cross_entropy`.

    Towards `q` = 0 it is the cross entropy, and at 1 the mean absolute error 1 - p, which wrong labels hardly move, and
    which learns slowly. The gradient of a pixel is p^q times that of its cross entropy: improbable labels pull less.
    """
    log_probability = of_target(in_single(logits).log_softmax(1), target)
    # By the logarithm: the derivative of p ** q is infinite at p = 0.
    values = -torch.expm1(q * log_probability) / q
    return {"generalised_cross_entropy": mean_over_labelled(values, target, weights, total)}
