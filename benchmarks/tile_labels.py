"""Labels of tiles, taken from the truth, and what a linear head on frozen features learns from them.

A tile has the classes that are on at least 2 % of its pixels. The mean over a tile's cells is classified by one linear
layer: binary cross entropy, negatives a positive as the weight of positives, 200 steps of Adam over all tiles at once,
weight decay of the weights alone. For comparison the same layer learns from the truth of each cell: a softmax whose
cross entropy is the mean over all pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam.networks.bags import overlap, positive_weights
from wildseg.labels.tiles import crop
from wildseg.metrics.levels import classes_in

PRESENT = 0.02  # share of a tile's pixels from which a class is in it
STEPS, LR, DECAY = 200, 0.05, 1e-3
SEED = 0  # of wrong ticks


def labels_of_tiles(truth: np.ndarray, grid: tuple[int, int], num_classes: int) -> np.ndarray:
    """Return which classes are in each tile, (r, c, K) bool, by the truth (H, W) of a frame."""
    found = [classes_in(crop(truth, i, j, grid), num_classes, PRESENT)[0] for i, j in np.ndindex(*grid)]
    return np.stack(found).reshape(*grid, num_classes)


def with_errors(labels: np.ndarray, wrong: float, seed: int = SEED) -> np.ndarray:
    """Return labels (N, r, c, K) bool of which each tick was flipped with the probability `wrong`.

    Ticks that are wrong at some probability are wrong at each higher one, too.
    """
    return labels ^ (np.random.default_rng(seed).random(labels.shape) < wrong)


def tile_means(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the mean of features (D, h, w) over the cells of each tile: (r * c, D)."""
    whole = torch.tensor([[0.0, 1.0]])
    rows, columns = (overlap(whole, side, number)[0] for side, number in zip(features.shape[1:], grid, strict=True))
    sums = torch.einsum("ih,jw,dhw->ijd", rows, columns, features)
    return sums.flatten(0, 1) / (rows.sum(1)[:, None] * columns.sum(1)).reshape(-1, 1)


def fit(vectors: Tensor, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return weight (K, D) and bias (K,) of a linear head, whose sigmoid says whether a class is in a tile.

    Args:
        vectors: (N * r * c, D), of the tiles of N frames row by row.
        labels: (N, r, c, K) bool.
    """
    wanted = torch.from_numpy(labels.reshape(-1, labels.shape[-1]).astype(np.float32))
    positive = torch.from_numpy(positive_weights(labels))
    return _minimise(
        lambda logits: F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=positive), vectors, wanted.shape[1]
    )


def shares_of_cells(truth: np.ndarray, grid: tuple[int, int], num_classes: int) -> np.ndarray:
    """Return the part of each cell's pixels that each class has, (h, w, K) float32, by the truth (H, W) of a frame."""
    planes = [(truth == index + 1).astype(np.float32) for index in range(num_classes)]
    return np.stack([cv2.resize(plane, grid[::-1], interpolation=cv2.INTER_AREA) for plane in planes], -1)


def fit_pixels(vectors: Tensor, shares: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return weight (K, D) and bias (K,) of a linear head, whose softmax is the probability of a pixel's class.

    Args:
        vectors: (N, D), of cells.
        shares: (N, K) of pixels of each class in each cell; their sum may be below 1.
    """
    wanted = torch.from_numpy(shares)
    return _minimise(lambda logits: pixel_loss(logits, wanted), vectors, wanted.shape[1])


def pixel_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Return the cross entropy, the mean over known pixels, of cells with one answer (N, K) for all their pixels."""
    return -(shares * logits.log_softmax(1)).sum() / shares.sum()


def _minimise(loss: Callable[[Tensor], Tensor], vectors: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(num_classes, vectors.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimiser = torch.optim.Adam([{"params": [weight], "weight_decay": DECAY}, {"params": [bias]}], LR)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss(vectors @ weight.T + bias).backward()
        optimiser.step()
    return weight.detach(), bias.detach()
