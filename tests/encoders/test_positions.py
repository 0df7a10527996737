"""Position embeddings on other grids, against bicubic interpolation written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wildseg.encoders.positions import resample

A = -0.75  # of the cubic kernel, as torch and most networks have it


def kernel(distance: float) -> float:
    """Keys (1981), equation 15, for any A."""
    x = abs(distance)
    if x <= 1:
        return (A + 2) * x**3 - (A + 3) * x**2 + 1
    return A * x**3 - 5 * A * x**2 + 8 * A * x - 4 * A if x < 2 else 0.0


def matrix(native: int, wanted: int) -> np.ndarray:
    """The weights (wanted, native) of each cell along one axis: half-pixel centres, the border repeated."""
    weights = np.zeros((wanted, native))
    for row in range(wanted):
        centre = (row + 0.5) * native / wanted - 0.5
        for cell in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            weights[row, min(max(cell, 0), native - 1)] += kernel(centre - cell)
    return weights


@pytest.mark.parametrize("grid", [(6, 5), (3, 9), (4, 4)])
def test_other_grids_are_bicubic_by_default(grid: tuple[int, int]) -> None:
    stored = torch.from_numpy(np.random.default_rng(0).normal(size=(1 + 5 * 4, 3)))
    cells = stored[1:].numpy().reshape(5, 4, 3)
    expected = np.einsum("ij,kl,jlc->ikc", matrix(5, grid[0]), matrix(4, grid[1]), cells)
    found = resample(stored, (5, 4), grid)
    np.testing.assert_allclose(found[1:].numpy(), expected.reshape(-1, 3), atol=1e-10)
    np.testing.assert_array_equal(found[0], stored[0])
