"""Division and averaging where a denominator may be 0: NaN says "undefined" and becomes null in JSON."""

from __future__ import annotations

import numpy as np


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide counts elementwise; NaN where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def mean(values: np.ndarray) -> float:
    """Average what is defined; NaN where nothing is."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else float("nan")
