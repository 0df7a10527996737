"""Regions of a frame: patches of like features, by k-means, wherever they lie (as the clusters of OTAS, ICRA 2026).

A region need not be connected: what is behind a pole is one with what is in front of it. Clusters lie on the very grid
of the features that are averaged over them, follow meaning rather than colour, and need no library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDS = 20  # of k-means, unless no patch moves before
SMALL = 1e-12


@dataclass(frozen=True)
class Regions:
    """The R regions of one frame.

    labels: (h, w) int, the region of each patch, from 0. keys: (R, C) float32 unit vectors, which say what looks alike.
    values: (R, d) float32, means of unit features that texts are compared with. areas: (R,) float64, shares of the
    frame, which sum to 1.
    """

    labels: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    areas: np.ndarray


def regions(keys: np.ndarray, values: np.ndarray, grid: tuple[int, int], clusters: int) -> Regions:
    """Return the regions of a frame: ``k_r = normalise(mean K)``, ``v_r = mean V``.

    Args:
        keys: K (h*w, C), features of the patches.
        values: V (h*w, d), unit features of the patches.
        grid: (h, w).
        clusters: how many regions at most; patches that are all alike are one.
    """
    labels = partition(keys, clusters)
    own = means(keys, labels)
    areas = np.bincount(labels) / len(labels)
    return Regions(labels.reshape(grid), _unit(own).astype(np.float32), means(values, labels).astype(np.float32), areas)


def partition(features: np.ndarray, clusters: int) -> np.ndarray:
    """Return the cluster (N,) of each of N features, from 0 without a gap, by k-means of centred unit features.

    It begins at the feature farthest from the mean and goes on with the one farthest from all that were chosen, so that
    the same features have the same clusters.

    Args:
        features: (N, C), N > 0.
        clusters: how many at most.
    """
    x = features.astype(np.float64)
    x = _unit(x - x.mean(0))
    centres = _farthest(x, clusters)
    labels = np.zeros(len(x), np.int64)
    for _ in range(ROUNDS):
        before, labels = labels, (x @ centres.T - (centres**2).sum(1) / 2).argmax(1)
        if np.array_equal(before, labels):
            break
        for number in np.unique(labels):
            centres[number] = x[labels == number].mean(0)
    return np.unique(labels, return_inverse=True)[1]


def means(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean (R, C) float64 of the features (N, C) of each cluster of labels (N,)."""
    return np.stack([features[labels == number].mean(0, dtype=np.float64) for number in range(labels.max() + 1)])


def on_grid(labels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return labels (h, w) on another grid (h', w'): each cell has that of the patch below its centre."""
    rows, columns = (
        ((np.arange(cells) + 0.5) * own / cells).astype(int) for own, cells in zip(labels.shape, grid, strict=True)
    )
    return labels[rows[:, None], columns]


def _farthest(x: np.ndarray, number: int) -> np.ndarray:
    """Return centres (k, C), k at most `number`: fewer where all others coincide with one of them."""
    distances = ((x - x.mean(0)) ** 2).sum(1)
    chosen = [int(distances.argmax())]
    distances = ((x - x[chosen[0]]) ** 2).sum(1)
    while len(chosen) < min(number, len(x)) and distances.max() > SMALL:
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, ((x - x[chosen[-1]]) ** 2).sum(1))
    return x[chosen].copy()


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SMALL)
