"""Pixel correlation module (Wang et al. 2020, SEAM, arXiv:2004.04581, section 3.3) in the variant of L2G.

Values of each cell spread to the cells that look alike, by colour and by the features of two earlier stages:

    f_j <- f_j / (|f_j| + eps)        a_ij = relu(<f_i, f_j>)        y_j = sum_i v_i a_ij / (sum_i a_ij + eps)

where f is a linear mix of the resized image and of the two features, which get no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5
REDUCTION = 8  # of the channels of both features: 512 and 1024 of ResNet-38 become 64 and 128, as published
ELEMENTS = 2**26  # of the affinities that are held at a time, which bounds memory where an image has many cells


class PixelCorrelation(nn.Module):
    """Propagates values between cells of similar colour and features."""

    def __init__(self, channels: Sequence[int]) -> None:
        """Build the mix, with the published initial weights.

        Args:
            channels: of the two earlier features.
        """
        super().__init__()
        reduced = [max(1, number // REDUCTION) for number in channels]
        pairs = zip(channels, reduced, strict=True)
        self.reduce = nn.ModuleList(nn.Conv2d(number, few, 1, bias=False) for number, few in pairs)
        self.mix = nn.Conv2d(3 + sum(reduced), sum(reduced), 1, bias=False)
        for weight in self.reduce.parameters():
            nn.init.kaiming_normal_(weight)
        nn.init.xavier_uniform_(self.mix.weight, gain=4)

    def forward(self, values: Tensor, pixels: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Return the propagated values, of the shape of `values`.

        Args:
            values: (B, D, h, w), of any kind: the module is linear in them.
            pixels: (B, 3, H, W) the image, normalised.
            features: two of (B, C, h', w'), resized to h x w where they are of another size; they get no gradient.
        """
        size = values.shape[2:]
        reduced = [_resized(conv(x.detach()), size) for conv, x in zip(self.reduce, features, strict=True)]
        mixed = self.mix(torch.cat([_resized(pixels, size), *reduced], 1))
        # Sums over thousands of cells, in single precision whatever the rest of the pass is in.
        with torch.autocast(values.device.type, enabled=False):
            return propagate(values.float(), mixed.float()).to(values.dtype)


def propagate(values: Tensor, features: Tensor, elements: int = ELEMENTS) -> Tensor:
    """Return each cell's mean of all cells' values, weighted by the rectified cosine of their features and its own.

    Args:
        values: (B, D, h, w) float32.
        features: (B, E, h, w) float32.
        elements: largest number of affinities that are held at a time; the result does not depend on it but for
            rounding.

    Returns:
        (B, D, h, w).
    """
    flat = features.flatten(2)  # (B, E, N)
    unit = flat / (flat.norm(dim=1, keepdim=True) + EPS)
    batch, _, cells = unit.shape
    parts = []
    for part in unit.split(max(1, elements // (batch * cells)), 2):  # of the second cells j
        affinity = (unit.transpose(1, 2) @ part).relu()  # (B, N, M)
        parts.append(values.flatten(2) @ affinity / (affinity.sum(1, keepdim=True) + EPS))  # (B, D, M)
    return torch.cat(parts, 2).view_as(values)


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=True)
