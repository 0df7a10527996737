"""Partial class activation attention (Liu et al., CVPR 2022): features attend to class centres found bin by bin.

A feature map is divided into bins, a grid of equal rectangles. In each bin a class activation map says which cells are
of which class; the weighted mean of their features is a local class centre. A graph unit lets the centres of all bins
interact, a weighted sum over bins makes global ones. Each cell takes up the global centres, weighted by its similarity
to the local ones of its bin.

Letters of the margins: N bins, n cells of a bin, K classes, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

Bins = tuple[int, int]  # rows and columns of bins


def split(features: Tensor, bins: Bins) -> Tensor:
    """Divide a map (B, D, h, w) into bins: (B, N, n, D), bins and the cells of each in row-major order.

    h and w are multiples of the rows and columns of bins.
    """
    rows, columns = bins
    blocks = features.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))  # (B, D, rows, h / rows, columns, ...)
    return blocks.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)


def join(cells: Tensor, bins: Bins, width: int) -> Tensor:
    """Return the map (B, D, h, w) of which `cells` (B, N, n, D) is the `split`; `width` is w."""
    rows, columns = bins
    blocks = cells.unflatten(2, (-1, width // columns)).unflatten(
        1, (rows, columns)
    )  # (B, rows, columns, h / rows, ...)
    return blocks.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def local_centres(activations: Tensor, scores: Tensor, cells: Tensor) -> Tensor:
    """Return the class centres of each bin: the mean of its cells' features, weighted by activation, times the score.

    Args:
        activations: (B, N, n, K) the class activation map, of which the softmax over a bin's cells is taken.
        scores: (B, N, K) in [0, 1], how likely a class is present in a bin.
        cells: (B, N, n, D) features.

    Returns:
        (B, N, K, D).
    """
    weights = activations.softmax(2)  # over the cells of a bin, by class
    return torch.einsum("bnik,bnid->bnkd", weights, cells) * scores[..., None]


class GraphUnit(nn.Module):
    """Interaction of the bins' centres: ``relu(c + N c) W``, with N over bins and W over channels, both learned."""

    def __init__(self, bins: int, channels: int) -> None:
        """Start from random weights."""
        super().__init__()
        self.between_bins = nn.Conv2d(bins, bins, 1, bias=False)
        self.channels = nn.Linear(channels, channels, bias=False)

    def forward(self, centres: Tensor) -> Tensor:
        """Return (B, N, K, D) of centres (B, N, K, D)."""
        return self.channels(functional.relu(centres + self.between_bins(centres)))


class PartialAttention(nn.Module):
    """Adds to features what their classes look like in the whole image; also gives the partial class scores.

    The attention is a softmax over classes of unscaled products, as published.
    """

    def __init__(self, channels: int, num_ids: int, bins: Bins, dropout: float = 0.1) -> None:
        """Start from random weights.

        Args:
            channels: D, even.
            num_ids: K.
            bins: rows and columns.
            dropout: share of channels dropped in front of the class activation map, in training.
        """
        super().__init__()
        self.bins = bins
        number, half = bins[0] * bins[1], channels // 2
        self.dropout = nn.Dropout2d(dropout)
        self.activation = nn.Conv2d(channels, num_ids, 1)
        self.graph = GraphUnit(number, channels)
        self.over_bins = nn.Conv2d(number, 1, 1)
        self.query = nn.Linear(channels, half)
        self.key = nn.Linear(channels, half)
        self.value = nn.Linear(channels, half)
        self.output = nn.Sequential(nn.Conv2d(half, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and the logits of partial class scores (B, N, K) of features (B, D, h, w)."""
        activations = split(self.activation(self.dropout(features)), self.bins)  # (B, N, n, K)
        cells = split(features, self.bins)  # (B, N, n, D)
        logits = activations.mean(2)  # pooled over each bin
        local = self.graph(local_centres(activations, logits.sigmoid(), cells))  # (B, N, K, D)
        whole = functional.relu(self.over_bins(local))  # (B, 1, K, D), the same for all bins
        attention = (self.query(cells) @ self.key(local).transpose(2, 3)).softmax(3)  # (B, N, n, K)
        attended = join(attention @ self.value(whole), self.bins, features.shape[3])  # (B, D / 2, h, w)
        return features + self.output(attended), logits
