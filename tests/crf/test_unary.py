"""Unary energies of a CRF."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.crf.unary import energies


def maps_of(*values: float) -> np.ndarray:
    """One pixel, one map per value: (K, 1, 1)."""
    return np.array(values, np.float32).reshape(-1, 1, 1)


def test_energies_are_negative_logs_clipped_at_1e_5() -> None:
    values = energies(maps_of(0.0, 1e-7, 0.25, 1.0), 1)[:, 0, 0]
    np.testing.assert_allclose(values, [11.512925, 11.512925, 1.386294, 0], atol=1e-5)
    assert values.dtype == np.float32


@pytest.mark.parametrize("sharpen", [0.5, 1.0, 2.0, 3.7])
def test_energies_equal_their_formula_for_any_sharpness(sharpen: float) -> None:
    scores = np.concatenate([np.zeros(1), np.logspace(-8, 0, 200)]).reshape(3, 67, 1)
    expected = -np.log(np.clip(scores**sharpen, 1e-5, 1))
    np.testing.assert_allclose(energies(scores, sharpen), expected, rtol=1e-5, atol=1e-6)


def test_sharpening_multiplies_energies_and_keeps_the_largest_score() -> None:
    scores = np.random.default_rng(0).uniform(0.05, 1, (4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(energies(scores, 2), 2 * energies(scores, 1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(energies(scores, 3).argmin(0), scores.argmax(0))
