"""Conjugate gradients (Hestenes and Stiefel 1952) for several right-hand sides of one symmetric system at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Product = Callable[[np.ndarray], np.ndarray]  # (K, ...) to the same shape: the matrix times each of K vectors


def solve(product: Product, right: np.ndarray, start: np.ndarray, steps: int, tolerance: float = 0.0) -> np.ndarray:
    """Return what solves ``A x = b`` for each of K right-hand sides, (K, ...) float64.

    Each has step lengths of its own, so that a class is solved the same alone and among others.

    Args:
        product: multiplies each of K vectors with the matrix, symmetric and positive definite.
        right: (K, ...) float64.
        start: (K, ...) float64, where the search begins.
        steps: how many products there are at most.
        tolerance: a right-hand side is done when its residual is at most this share of its length.
    """
    solution = start.copy()
    residual = right - product(solution)
    direction = residual.copy()
    squared = _dot(residual, residual)
    done = tolerance**2 * _dot(right, right)
    for _ in range(steps):
        if not (squared > done).any():
            break
        image = product(direction)
        length = np.where(squared > done, squared / _positive(_dot(direction, image)), 0)
        solution += length * direction
        residual -= length * image
        before, squared = squared, _dot(residual, residual)
        direction *= squared / _positive(before)
        direction += residual
    return solution


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the product of each pair of vectors of (K, ...), in a shape that multiplies them."""
    return (one * other).sum(tuple(range(1, one.ndim)), keepdims=True)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, np.finfo(np.float64).tiny)  # 0 where a residual is 0
