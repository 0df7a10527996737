"""Differences of two runs on the same frames, with intervals by a paired bootstrap over stretches of frames.

Both runs are measured on the same redrawn stretches (see `wildseg.metrics.intervals`), and the interval holds the
middle 95 % of the differences (Efron and Tibshirani 1993, chapter 8: the pair is the unit that is drawn). What makes a
frame hard is hard for both, so that it cancels, and the interval is narrower than those of the two values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wildseg.metrics.intervals import Interval, PerClass, intervals

NOTHING = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Difference:
    """A measure of two runs, and the interval of the second less the first; NaN where something was not measured."""

    first: float
    second: float
    interval: Interval = NOTHING

    @property
    def value(self) -> float:
        """The second less the first."""
        return self.second - self.first

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.interval.low > 0 or self.interval.high < 0


def difference(first: np.ndarray, second: np.ndarray, measure: PerClass) -> Difference:
    """Return the difference of a measure that is one number.

    Args:
        first: counts (b, c, K) of b stretches by the first run.
        second: the same of the second run, on the same stretches.
        measure: from counts (..., c, K) to (...).
    """
    return differences(first, second, lambda counts: measure(counts)[..., None])[0]


def differences(first: np.ndarray, second: np.ndarray, measure: PerClass) -> list[Difference]:
    """Return the differences of a measure per class, from counts (..., c, K) to (..., K): see `difference`.

    Equal counts differ by exactly 0, also where the stretches are too few for an interval of anything else.
    """
    both = np.stack([first, second], axis=1)  # (b, 2, c, K)
    before, after = (measure(one.sum(axis=0)) for one in (first, second))
    low, high = intervals(both, lambda sums: measure(sums[:, 1]) - measure(sums[:, 0]))
    same = np.array_equal(first, second)
    bounds = (
        [Interval(0.0, 0.0)] * len(before)
        if same
        else [Interval(*map(float, one)) for one in zip(low, high, strict=True)]
    )
    return [
        Difference(float(a), float(b), one if math.isfinite(b - a) else NOTHING)
        for a, b, one in zip(before, after, bounds, strict=True)
    ]
