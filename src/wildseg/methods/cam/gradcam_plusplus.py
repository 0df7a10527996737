"""Grad-CAM++ (Chattopadhay et al. 2018, equations 6, 7 and 19): positive gradients in closed-form weights.

With ``y = exp(logit)`` the second and third derivatives are powers of the first, ``g``, and
``a_k(u) = g^2 / (2 g^2 + g^3 sum_v A_k(v))``, ``w_k = sum_u relu(g_k(u)) a_k(u)``, ``L = relu(sum_k w_k A_k)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wildseg.cam.trace import Trace

NEEDS = frozenset({"gradients"})

EPS = 1e-6


def cam(trace: Trace) -> Tensor:
    """Return maps (K, h, w), not normalised."""
    gradients = trace.gradients()  # (K, C, h, w)
    sums = trace.activations.sum((2, 3), keepdim=True)  # (1, C, 1, 1)
    denominators = 2 * gradients**2 + sums * gradients**3 + EPS
    # Activations of either sign, as layer norms give, can bring a denominator to exactly zero.
    defined = (gradients > 0) & (denominators != 0)
    coefficients = torch.where(defined, gradients**2 / torch.where(defined, denominators, 1), 0)
    weights = (gradients * coefficients).sum((2, 3), keepdim=True)  # (K, C, 1, 1)
    return (weights * trace.activations).sum(1).relu()
