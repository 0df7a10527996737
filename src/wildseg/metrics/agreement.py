"""How far two labellers agree on which classes frames show: shares, and Cohen's kappa (Cohen 1960).

``kappa = (p_o - p_e) / (1 - p_e)``: p_o is the share of frames with equal labels of a class, p_e the share expected
by chance, from the frequency with which each labeller names the class. 1 is full agreement, 0 that of chance; it is
negative below that. NaN where both labellers always, or both never, name a class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wildseg.metrics.ratio import mean


class Agreement(NamedTuple):
    """Agreement of two labellers.

    share: (K,), of frames with equal labels of a class. kappa: (K,), NaN where undefined. overall: the share
    of all frames and classes. exact: the share of frames on which they agree in all classes. mean_kappa: over classes
    where it is defined. pooled_kappa: of all frames and classes taken as one yes-or-no question.
    """

    share: np.ndarray
    kappa: np.ndarray
    overall: float
    exact: float
    mean_kappa: float
    pooled_kappa: float


def agreement(one: np.ndarray, other: np.ndarray) -> Agreement:
    """Compare the labels of two labellers, (n, K) bool each, on the same n frames."""
    same, per_class = one == other, kappa(one, other)
    return Agreement(
        share=same.mean(0),
        kappa=per_class,
        overall=float(same.mean()),
        exact=float(same.all(1).mean()),
        mean_kappa=mean(per_class),
        pooled_kappa=float(kappa(one.reshape(-1, 1), other.reshape(-1, 1))[0]),
    )


def kappa(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa of each column of two (n, K) bool: (K,) float64, NaN where both are constant and equal."""
    observed, first, second = (one == other).mean(0), one.mean(0), other.mean(0)
    chance = first * second + (1 - first) * (1 - second)
    defined = chance < 1
    return np.where(defined, (observed - chance) / np.where(defined, 1 - chance, 1), np.nan)
