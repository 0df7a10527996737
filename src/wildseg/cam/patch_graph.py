"""Graphs over the patches of an image, whose edges weigh how alike two patches are; maps propagate along them.

`label_propagation` is that of LPOSS (Stojnic et al., CVPR 2025), after Zhou et al., "Learning with Local and Global
Consistency" (2004): ``(I - alpha S) X = Y`` with ``S = D^-1/2 W D^-1/2``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from wildseg.cam import conjugate_gradients

BLOCK = 2**22  # cosines that are there at a time
TOLERANCE = 1e-6


def label_propagation(maps: np.ndarray, graph: sparse.csr_array, alpha: float, steps: int) -> np.ndarray:
    """Return what solves ``(I - alpha S) X = Y`` by conjugate gradients, (K, N) float64.

    Args:
        maps: Y, (K, N).
        graph: S, (N, N), symmetric, its eigenvalues in [-1, 1]; see `normalised`.
        alpha: in [0, 1), how far maps spread; 0 changes nothing.
        steps: of conjugate gradients, unless the residual is a millionth of Y before.
    """
    maps = maps.astype(np.float64)

    def product(values: np.ndarray) -> np.ndarray:
        return values - alpha * (graph @ values.T).T

    return conjugate_gradients.solve(product, maps, maps, steps, TOLERANCE)


def neighbour_graph(
    features: Tensor, places: np.ndarray, neighbours: int, gamma: float, sigma: float
) -> sparse.csr_array:
    """Return the weights W (N, N) between patches, symmetric, with a zero diagonal.

    ``max(cos(f_i, f_j), 0) ** gamma * exp(-sigma |places_i - places_j|)`` to the patches with the largest cosines, plus
    its transpose.

    Args:
        features: (N, d).
        places: (N, 2), the centres of patches in pixels.
        neighbours: how many patches each has, itself included.
        gamma: exponent of cosines.
        sigma: per pixel, decline with the distance.
    """
    number = len(features)
    few = min(neighbours, number)
    values, columns = [], []
    for _, cosines in _cosines(F.normalize(features.float(), dim=1)):
        best = cosines.topk(few, dim=1)
        values.append(best.values.clamp(min=0).double().cpu().numpy())
        columns.append(best.indices.cpu().numpy())
    own, other = np.arange(number).repeat(few), np.concatenate(columns).ravel()
    distance = np.linalg.norm(places[own] - places[other], axis=1)
    weights = np.concatenate(values).ravel() ** gamma * np.exp(-sigma * distance)
    weights[own == other] = 0
    directed = sparse.csr_array((weights, other, np.arange(number + 1) * few), shape=(number, number))
    return (directed + directed.T).tocsr()


def normalised(weights: sparse.csr_array) -> sparse.csr_array:
    """Return ``D^-1/2 W D^-1/2`` of symmetric weights, where a patch without neighbours has the degree 1."""
    degree = np.asarray(weights.sum(axis=1)).ravel()
    scale = sparse.diags_array(np.where(degree > 0, degree, 1) ** -0.5)
    return (scale @ weights @ scale).tocsr()


def similar_mean(maps: Tensor, features: Tensor, threshold: float) -> Tensor:
    """Return the mean of maps over the patches that are like each patch, (K, N) float64.

    Weights are the cosines of centred features, 0 below the threshold; those of a row sum to 1. A patch that is like
    none, since its features are the mean, keeps its value.

    Args:
        maps: (K, N).
        features: (N, d).
        threshold: of cosines, from 0 to 1.
    """
    unit = F.normalize((features - features.mean(0)).double(), dim=1)
    columns, result = maps.double().T, []
    for rows, cosines in _cosines(unit):
        weights = torch.where(cosines >= threshold, cosines, 0)
        total = weights.sum(1, keepdim=True)
        result.append(torch.where(total > 0, weights @ columns / total, columns[rows]))
    return torch.cat(result).T


def places(grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return the centres (h * w, 2) of the patches of a grid over an image of `size` (H', W') in pixels."""
    rows, columns = ((np.arange(cells) + 0.5) * pixels / cells for cells, pixels in zip(grid, size, strict=True))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def _cosines(unit: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield some rows, and the cosines of these unit vectors (N, d) with all, (rows, N), until all are done."""
    step = max(1, BLOCK // len(unit))
    for start in range(0, len(unit), step):
        rows = slice(start, start + step)
        yield rows, unit[rows] @ unit.T
