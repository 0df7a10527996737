"""Division and averaging where a denominator may be 0: NaN says "undefined" and becomes null in JSON."""

from __future__ import annotations

import numpy as np


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide counts elementwise; NaN where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def harmonic_mean(first: float, second: float) -> float:
    """Return ``2 a b / (a + b)`` of two numbers of at least 0; 0 where both are 0, NaN where one is NaN."""
    total = first + second
    return 2 * first * second / total if total != 0 else 0.0


def mean(values: np.ndarray) -> float:
    """Average what is defined; NaN where nothing is."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else float("nan")
