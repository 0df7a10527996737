"""From activation maps to the unary energies of a CRF: the negative logarithm of sharpened scores."""

from __future__ import annotations

import numpy as np

SMALLEST = 1e-5  # scores are clipped here, so that a false zero costs -log(1e-5) = 11.5 instead of infinity


def energies(scores: np.ndarray, sharpen: float) -> np.ndarray:
    """Return unary energies ``U = -log clip(scores ** sharpen, 1e-5, 1)``, to which the mean field adds messages.

    The scores of a pixel need not sum to 1: a mean field normalises. `sharpen` applies to every score, that of the
    background too, so it weighs the maps against the neighbourhood and never changes which score of a pixel is largest.

    Args:
        scores: (K, H, W) float in [0, 1].
        sharpen: exponent, above 0.

    Returns:
        (K, H, W) float32 in [0, 11.6].
    """
    # Clipping before the power, at the root of the limit, needs one logarithm and one product.
    unary = np.clip(scores, SMALLEST ** (1 / sharpen), 1, dtype=np.float32)
    np.log(unary, out=unary)
    unary *= -sharpen
    return unary
