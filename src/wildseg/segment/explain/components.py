"""The features of a layer as colours: their first three principal components.

Principal component analysis of the cells' features, ``X = A`` as (h*w, K) without each channel's mean, ``X = U S V^T``:
red, green and blue are the first three columns of ``U S``. Cells of one colour have similar features. The colours
themselves have no meaning, and are not comparable between images.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NEGLIGIBLE = 1e-6  # share of the variance below which a component is rounding error of single precision


def principal_components(features: Tensor, count: int = 3) -> tuple[Tensor, Tensor]:
    """Return the first principal components of features (K, h, w).

    The sign of a component is arbitrary: the largest magnitude is made positive. Components beyond the rank are zero.

    Returns:
        Scores (count, h, w) float64, by falling variance; and the explained variance of each, (count,) in [0, 1].
    """
    channels, height, width = features.shape
    cells = features.double().reshape(channels, -1).T  # (h*w, K)
    cells = cells - cells.mean(0)
    # The smaller of the two Gram matrices, so that a large frame costs K x K numbers instead of N x N.
    if channels <= len(cells):
        scores = cells @ _largest(cells.T @ cells, count)[1]
    else:
        squares, vectors = _largest(cells @ cells.T, count)
        scores = vectors * squares.clamp_min(0).sqrt()  # U S
    total = cells.square().sum()
    shares = scores.square().sum(0) / total if total > 0 else torch.zeros_like(scores[0])
    scores = scores * (shares > NEGLIGIBLE)
    extreme = scores.gather(0, scores.abs().argmax(0, keepdim=True))  # (1, n)
    scores = torch.where(extreme < 0, -scores, scores).T  # (n, h*w)
    missing = count - len(scores)
    scores = torch.cat([scores, scores.new_zeros(missing, height * width)])
    return scores.reshape(count, height, width), torch.cat([shares, shares.new_zeros(missing)])


def colours(scores: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) uint8 RGB of scores (3, h, w): each stretched between its 1st and 99th percentile.

    A constant component becomes mid-grey.
    """
    low, high = np.percentile(scores, (1, 99), axis=(1, 2), keepdims=True)  # (3, 1, 1) each
    spread = high - low
    stretched = np.where(spread > 0, (scores - low) / np.where(spread > 0, spread, 1), 0.5)
    return (255 * np.clip(stretched, 0, 1)).round().astype(np.uint8).transpose(1, 2, 0)


def _largest(gram: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues of a symmetric matrix (n, n), falling: (m,), and their eigenvectors (n, m)."""
    values, vectors = torch.linalg.eigh(gram)
    return values[-count:].flip(0), vectors[:, -count:].flip(1)
