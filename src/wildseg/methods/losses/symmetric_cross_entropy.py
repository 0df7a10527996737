"""Symmetric cross entropy (Wang et al. 2019, arXiv:1908.06112, equation 7): robust to wrong labels."""

from __future__ import annotations

from typing import Annotated

import torch

from wildseg.core.limits import Between
from wildseg.segment.losses import Total, cross_entropy, in_single, mean_over_labelled, of_target

NEEDS: frozenset[str] = frozenset()


def loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    weights: torch.Tensor | None,
    total: Total,
    *,
    alpha: Annotated[float, Between(0, 1000)] = 0.1,
    beta: Annotated[float, Between(0, 1000)] = 1.0,
    log_of_zero: Annotated[float, Between(-1000, 0)] = -4.0,
) -> dict[str, torch.Tensor]:
    """Return `alpha` times the cross entropy and `beta` times the reverse one; see `methods.losses.cross_entropy`.

    The reverse one, -sum_k p_k log q_k, swaps the prediction p and the label q. Of a label that is certain of its class
    y, log q_y = 0, and log 0 is defined as A (`log_of_zero`, the paper's -4): it is -A (1 - p_y), and bounded, so that
    a wrong label has a bounded pull.
    """
    probability = of_target(in_single(logits).softmax(1), target)
    reverse = mean_over_labelled(-log_of_zero * (1 - probability), target, weights, total)
    return {
        "cross_entropy": alpha * cross_entropy(logits, target, weights, total),
        "reverse_cross_entropy": beta * reverse,
    }
