"""Thresholds fitted to a few frames whose classes a person has ticked, and how sure one can be of them.

For one class every cut between two neighbouring scores is tried; a class of which the frames say too little gets none.
How sure: the interval of thresholds that frames drawn
again with replacement give (bootstrap), and exact intervals of precision and recall (Clopper and Pearson 1934). The
latter hold for a threshold chosen without these frames; chosen with them, precision and recall are a little kind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

MIN_FRAMES = 3  # frames with a class, and without it: below, one odd frame moves the threshold anywhere
BOOTSTRAP_DRAWS = 1000
CONFIDENCE_LEVEL = 0.95
UNDEFINED = (float("nan"), float("nan"))


@dataclass(frozen=True)
class ThresholdFit:
    """A threshold and what it reaches on the ticked frames; NaN where a share is of nothing.

    present, absent: how many frames have the class, and how many do not. lacking: what a threshold needs and these
    frames do not have, empty where there is one; all that follows is NaN otherwise. reached: whether it has the wanted
    precision; so it does where it names nothing. likely: where 95 % of resampled thresholds lie. precision_in,
    recall_in: exact 95 % intervals.
    """

    present: int
    absent: int
    missing: str = ""
    threshold: float = math.nan
    reaches_precision: bool = True
    precision: float = math.nan
    recall: float = math.nan
    threshold_interval: tuple[float, float] = UNDEFINED
    precision_interval: tuple[float, float] = UNDEFINED
    recall_interval: tuple[float, float] = UNDEFINED

    @property
    def predicts_all(self) -> bool:
        """Whether the threshold lies below the scores of all ticked frames, which then tell nothing of the class."""
        return self.recall == 1 and self.precision == self.present / (self.present + self.absent)


def fit_thresholds(
    scores: np.ndarray, truth: np.ndarray, precision: float | None = None, seed: int = 0
) -> list[ThresholdFit]:
    """Return a fit per class, of each by itself: one with `missing` for a class of which the frames say too little.

    Args:
        scores: (n, K) in [0, 1].
        truth: (n, K) bool, what a person says.
        precision: the precision wanted, with as much recall as it allows; None for the best F1.
        seed: of the resampling.
    """
    draws = np.random.default_rng(seed).integers(0, len(scores), (BOOTSTRAP_DRAWS, len(scores)))
    return [_fit(own, ticked, precision, draws) for own, ticked in zip(scores.T, truth.T, strict=True)]


def best_threshold(scores: np.ndarray, truth: np.ndarray, precision: float | None) -> float | None:
    """Return the threshold of the best F1, or of most recall at a precision; None where it cannot name a true one.

    Of equal ones the lowest, which finds most; where the precision is out of reach, the most precise.

    Args:
        scores: (n,) in [0, 1]; named is what lies strictly above a threshold.
        truth: (n,) bool.
        precision: see `fit_thresholds`.
    """
    values, inverse = np.unique(-scores, return_inverse=True)
    values = -values  # falling
    hits = np.bincount(inverse, truth, len(values)).cumsum()  # of the threshold just below each value
    named = np.bincount(inverse, minlength=len(values)).cumsum()
    cuts = (values + np.append(values[1:], 0.0)) / 2
    possible = values > 0
    if not (hits[possible] > 0).any():
        return None
    hits, named, cuts = hits[possible], named[possible], cuts[possible]
    if precision is None:
        objective = 2 * hits / (named + truth.sum())
    else:
        exact = hits / named
        objective = np.where(exact >= precision, 1 + hits, exact)
    return float(cuts[np.flatnonzero(objective == objective.max())[-1]])


def _fit(scores: np.ndarray, truth: np.ndarray, precision: float | None, draws: np.ndarray) -> ThresholdFit:
    present = int(truth.sum())
    absent = len(truth) - present
    if lacking := _lacking(scores, truth):
        return ThresholdFit(present, absent, lacking)
    threshold = best_threshold(scores, truth, precision)
    if threshold is None:
        return ThresholdFit(present, absent, "no score above 0 where it is")
    named = scores > threshold
    hits, found = int((named & truth).sum()), int(named.sum())
    exact = _share(hits, found)
    return ThresholdFit(
        present,
        absent,
        "",
        threshold,
        reaches_precision=precision is None or not exact < precision,
        precision=exact,
        recall=_share(hits, present),
        threshold_interval=_likely(scores, truth, precision, draws),
        precision_interval=exact_interval(hits, found),
        recall_interval=exact_interval(hits, present),
    )


def _lacking(scores: np.ndarray, truth: np.ndarray) -> str:
    present = int(truth.sum())
    few = "with" if present < MIN_FRAMES else "without" if len(truth) - present < MIN_FRAMES else ""
    if few:
        return f"too few frames {few} it ({MIN_FRAMES} are needed)"
    return "the same score in all frames" if scores.min() == scores.max() else ""


def _likely(scores: np.ndarray, truth: np.ndarray, precision: float | None, draws: np.ndarray) -> tuple[float, float]:
    """Return where 95 % of the thresholds lie that are fitted to the frames of `draws`; scores, truth: (n,)."""
    again = [best_threshold(scores[rows], truth[rows], precision) for rows in draws]
    usable = [value for value in again if value is not None]
    low, high = np.quantile(usable, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2]) if usable else UNDEFINED
    return float(low), float(high)


def exact_interval(hits: int, of: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share of which `hits` of `of` were seen; all of [0, 1] where of is 0."""
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, of - hits + 1, tail))
    high = 1.0 if hits == of else float(betaincinv(hits + 1, of - hits, 1 - tail))
    return low, high


def _share(hits: int, of: int) -> float:
    return hits / of if of else float("nan")
