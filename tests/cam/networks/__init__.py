"""Networks small enough to reason about, and traces whose numbers are written down."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wildseg.cam.trace import Target, Trace


class ConvNet(nn.Module):
    """Two convolutions, a global mean, a linear head; with `mirrored`, flipping the image flips its features."""

    def __init__(self, classes: int = 4, channels: int = 6, mirrored: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, channels, 3, padding=1)
        )
        self.batch_norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(channels, classes)
        if mirrored:
            for layer in (self.features[0], self.features[2]):
                layer.weight.data = (layer.weight.data + layer.weight.data.flip(3)) / 2

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.dropout(self.batch_norm(self.features(pixels))).mean((2, 3)))


class MeanHead(nn.Module):
    """Features, a global mean, a linear head: the setting in which CAM, Grad-CAM and HiResCAM agree."""

    def __init__(self, classes: int = 4, channels: int = 6) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, channels, 3, padding=1)
        self.head = nn.Linear(channels, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(pixels).mean((2, 3)))


def written_trace(activations: Sequence, gradients: Sequence, attention: tuple[Tensor, ...] = ()) -> Trace:
    """Return a trace of one class whose activations and gradients, (C, h, w) each, are given as numbers."""
    given = torch.tensor(gradients, dtype=torch.float64)[None]

    def backward(_target: Target, _pool: str) -> Tensor:
        return given

    return Trace(torch.tensor(activations, dtype=torch.float64)[None], (0,), 1, backward, attention)
