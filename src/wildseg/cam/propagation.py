"""Confidence-weighted Laplacian propagation on pixels (PEARL, CVPR 2026, arXiv 2603.21528).

``(diag(C) + tau Lap(w)) X_c = C L_c`` for every class: pixels that the maps are sure of keep their value, unsure ones
take their neighbours', and nothing crosses an edge of the image. Classes are unlike each other: the matrix of similar
texts, of which the published code reads the diagonal alone, is the identity.
"""

from __future__ import annotations

import numpy as np

from wildseg.cam import conjugate_gradients

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
LOWEST_CONFIDENCE = 0.05
SMALL = 1e-6


def propagate(maps: np.ndarray, grey: np.ndarray, kappa: float, tau: float, steps: int) -> np.ndarray:
    """Return propagated maps (K, h, w) float64, each within the range it had.

    Args:
        maps: (K, h, w), K > 0; their softmax over classes tells how sure each pixel is.
        grey: (h, w), the image on the same grid, in any unit.
        kappa: how much an edge separates; 0 ignores the image.
        tau: strength of the smoothing; 0 changes nothing.
        steps: of conjugate gradients.
    """
    maps = maps.astype(np.float64)
    probabilities = softmax(maps)
    confidence = data_term(probabilities)
    right, down = edge_weights(grey, probabilities, kappa)

    def product(values: np.ndarray) -> np.ndarray:
        return confidence * values + tau * laplacian(values, right, down)

    # A class at a time, whose vectors fit the cache: together they take three times as long.
    right_sides = (confidence * maps)[:, None]
    solved = [conjugate_gradients.solve(product, *one, steps) for one in zip(right_sides, maps[:, None], strict=True)]
    return np.concatenate(solved)


def softmax(maps: np.ndarray) -> np.ndarray:
    """Return the softmax over the classes of (K, h, w)."""
    powers = np.exp(maps - maps.max(0))
    return powers / powers.sum(0)


def data_term(probabilities: np.ndarray) -> np.ndarray:
    """Return C (h, w), by how much a pixel keeps its value: ``max(max_c p_c, .05) ** 2 * (1 + sum_c p_c ** 2)``."""
    agreement = np.clip((probabilities**2).sum(0), 0, 1)
    return np.maximum(probabilities.max(0), LOWEST_CONFIDENCE) ** 2 * (1 + agreement)


def edge_weights(grey: np.ndarray, probabilities: np.ndarray, kappa: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights in [0, 1] between neighbours, of columns (h, w - 1) and of rows (h - 1, w).

    ``exp(-kappa |g_i - g_j| / mean |g_i - g_j|) * (1 + sum_c p_c(i) p_c(j))``, at most 1.

    Args:
        grey: (h, w).
        probabilities: (K, h, w), their sum over K is 1.
        kappa: see `propagate`.
    """
    found = []
    for axis in (1, 0):
        steps = np.abs(np.diff(grey.astype(np.float64), axis=axis))
        mean = steps.mean() if steps.size else 0.0
        one, other = _neighbours(probabilities, axis + 1)
        agreement = np.clip((one * other).sum(0), 0, 1)
        found.append(np.clip(np.exp(-kappa * steps / (mean + SMALL)) * (1 + agreement), 0, 1))
    return found[0], found[1]


def laplacian(values: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return the weighted graph Laplacian of each of (K, h, w): ``sum_j w_ij (x_i - x_j)`` over the 4 neighbours."""
    result = np.zeros_like(values)
    for axis, weights in ((2, right), (1, down)):
        one, other = _neighbours(values, axis)
        flow = weights * (one - other)
        first, second = _neighbours(result, axis)
        first += flow
        second -= flow
    return result


def luma(image: np.ndarray) -> np.ndarray:
    """Return the grey levels (h, w) float64 of an image (h, w, 3) RGB."""
    return image.astype(np.float64) @ np.array(LUMA)


def _neighbours(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return views of all but the last, and of all but the first, along an axis."""
    whole: list[slice] = [slice(None)] * values.ndim
    first, second = whole.copy(), whole.copy()
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    return values[tuple(first)], values[tuple(second)]
