"""Segmentation networks small enough to reason about."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pixelwise(nn.Module):
    """Features, and a 1x1 convolution without bias to logits (1, C, H, W): every pixel is judged by itself."""

    def __init__(self, classes: int = 4, channels: int = 6) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, classes, 1, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels))


class Curved(nn.Module):
    """A layer, and behind it two 3x3 convolutions with a ReLU between: a logit sees 5x5 cells, not in proportion."""

    def __init__(self, classes: int = 4, channels: int = 6) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(inplace=True))
        self.batch_norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.5)
        self.behind = nn.Conv2d(channels, 8, 3, padding=1)
        self.head = nn.Conv2d(8, classes, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.behind(self.dropout(self.batch_norm(self.features(pixels)))).relu_())


def seeded(network: type[nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return network()


def picture(height: int = 12, width: int = 16, seed: int = 1) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
