"""Bootstrap intervals of measures whose counts add up over frames, by redrawing whole stretches of neighbouring frames.

Frames of a video that follow each other are alike, so that frames drawn one by one would promise too much. Stretches
are disjoint blocks (Carlstein 1986), drawn with replacement as many times as there are; the interval holds the middle
95 % of a measure's values over all draws (the percentile interval of Efron 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np

from wildseg.metrics.ratio import ratio

DRAWS = 1000
LEVEL = 0.95
SECONDS = 6.0  # length of a stretch of a video
PHOTOS = 6  # of a folder without times, in the order of their names
FEWEST = 5  # stretches; of fewer, redrawn samples say nothing about others


PerClass = Callable[[np.ndarray], np.ndarray]  # from counts (..., 3, K) to (..., K) or (...)


class Interval(NamedTuple):
    """The bounds of an interval; NaN where too few stretches were measured."""

    low: float
    high: float


class Counts:
    """True positives, false positives and false negatives of classes, by level and stretch of frames."""

    def __init__(self) -> None:
        """Start without a frame."""
        self._sums: dict[str, dict[Hashable, np.ndarray]] = {}
        self._frames: dict[str, int] = {}

    def add(self, level: str, stretch: Hashable, counts: np.ndarray) -> None:
        """Add the counts of one frame, (3, K): see `of_matrix` and `of_labels`."""
        sums = self._sums.setdefault(level, {})
        sums[stretch] = sums[stretch] + counts if stretch in sums else counts.copy()
        self._frames[level] = self._frames.get(level, 0) + 1

    def frames(self, level: str) -> int:
        """Return how many frames of a level were added."""
        return self._frames.get(level, 0)

    def by_stretch(self, level: str) -> np.ndarray:
        """Return the counts of a level, (b, 3, K) over its stretches in the order of their first frames; b may be 0."""
        sums = list(self._sums.get(level, {}).values())
        return np.stack(sums) if sums else np.zeros((0, 3, 0), np.int64)


def stretch_of(source: str, time_s: float | None, place: int) -> tuple[str, int]:
    """Return the stretch of a frame.

    Args:
        source: its video or folder.
        time_s: its time, None where a photo has none.
        place: its place among the frames of its source, from 0; used where there is no time.
    """
    return source, int(time_s // SECONDS) if time_s is not None else place // PHOTOS


def of_matrix(confusion: np.ndarray) -> np.ndarray:
    """Return the counts (3, n) of a confusion matrix (n, n + 1), rows truth, columns prediction, the last no class."""
    hits, square = np.diagonal(confusion), confusion[:, : len(confusion)]
    return np.stack([hits, square.sum(axis=0) - hits, confusion.sum(axis=1) - hits])


def of_labels(target: np.ndarray, valid: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Return the counts (3, K) of a frame's labels: present, counted and named classes, (K,) bool each."""
    return np.stack([target & named & valid, ~target & named & valid, target & ~named & valid]).astype(np.int64)


# Measures of counts (..., 3, K); NaN where a denominator is 0 -------------------------------------------------------


def iou(counts: np.ndarray) -> np.ndarray:
    """Return the IoU of each class (..., K), ``TP / (TP + FP + FN)``."""
    return ratio(counts[..., 0, :], counts.sum(axis=-2))


def precision(counts: np.ndarray) -> np.ndarray:
    """Return the precision of each class (..., K), ``TP / (TP + FP)``."""
    return ratio(counts[..., 0, :], counts[..., 0, :] + counts[..., 1, :])


def recall(counts: np.ndarray) -> np.ndarray:
    """Return the recall of each class (..., K), ``TP / (TP + FN)``."""
    return ratio(counts[..., 0, :], counts[..., 0, :] + counts[..., 2, :])


def f1(counts: np.ndarray) -> np.ndarray:
    """Return F1 of each class (..., K), ``2 TP / (2 TP + FP + FN)``."""
    return ratio(2 * counts[..., 0, :], 2 * counts[..., 0, :] + counts[..., 1, :] + counts[..., 2, :])


def miou(counts: np.ndarray) -> np.ndarray:
    """Return the mean IoU (...) over classes in truth or prediction."""
    return _mean(iou(counts))


def mean_recall(counts: np.ndarray) -> np.ndarray:
    """Return the mean recall (...) over classes in the truth."""
    return _mean(recall(counts))


def micro(measure: PerClass) -> PerClass:
    """Return the micro value (...) of a measure per class: that of the counts summed over classes."""
    return lambda counts: measure(counts.sum(axis=-1, keepdims=True))[..., 0]


# Intervals ----------------------------------------------------------------------------------------------------------


def interval(by_stretch: np.ndarray, measure: PerClass) -> Interval:
    """Return the interval of a measure that is one number.

    Args:
        by_stretch: counts (b, ...) of the stretches, whose sum over stretches is measured.
        measure: from sums (d, ...) over the stretches of each of d draws to values (d,).
    """
    low, high = intervals(by_stretch, lambda sums: measure(sums)[:, None])
    return Interval(float(low[0]), float(high[0]))


def intervals(by_stretch: np.ndarray, measure: PerClass) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper bounds, (K,) each, of a measure (d, K) per class: see `interval`.

    Draws in which a class is undefined, since it is in none of their stretches, do not count for it.
    """
    values = measure(redraw(by_stretch)) if len(by_stretch) else np.zeros((1, by_stretch.shape[-1]))
    bounds = np.full((2, values.shape[1]), np.nan)
    for index, column in enumerate(values.T if len(by_stretch) >= FEWEST else ()):
        if (defined := column[np.isfinite(column)]).size:
            bounds[:, index] = np.quantile(defined, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return bounds[0], bounds[1]


def redraw(by_stretch: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return sums (draws, ...) over b stretches drawn with replacement, of counts (b, ...), b > 0."""
    number = len(by_stretch)
    drawn = np.random.default_rng(seed).integers(number, size=(draws, number))
    times = np.bincount((drawn + number * np.arange(draws)[:, None]).ravel(), minlength=draws * number)
    flat = by_stretch.reshape(number, -1).astype(np.float64)  # exact, and so the same on every machine, below 2 ** 53
    return (times.reshape(draws, number) @ flat).reshape(draws, *by_stretch.shape[1:])


def _mean(values: np.ndarray) -> np.ndarray:
    defined = np.isfinite(values)
    total = np.where(defined, values, 0).sum(axis=-1)
    return np.where(defined.any(axis=-1), total / np.maximum(defined.sum(axis=-1), 1), np.nan)
