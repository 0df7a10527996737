"""The neighbourhood of NACLIP (Hajimiri et al. 2025): attention of patches is drawn to those beside them."""

from __future__ import annotations

import torch
from torch import Tensor


def neighbourhood(height: int, width: int, sigma: float) -> Tensor:
    """Return omega (1 + h*w, 1 + h*w) for a grid of patches, token 0 the class token."""
    rows, columns = (
        torch.exp(-((torch.arange(n)[:, None] - torch.arange(n)) ** 2) / (2 * sigma**2)) for n in (height, width)
    )
    omega = torch.zeros(1 + height * width, 1 + height * width)
    omega[1:, 1:] = torch.kron(rows, columns)  # the exponential of a sum: a product of one factor per axis
    return omega
