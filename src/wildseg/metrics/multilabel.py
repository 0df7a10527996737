"""How well the classes of a frame were named: precision, recall, F1 and average precision of image labels.

Inputs are (n, K) matrices over n frames and K classes. An optional `valid` matrix says which entries count: a class
that covers a handful of pixels is neither a miss nor an error.

Macro means the average of per-class values over classes found in truth or prediction, micro the value of summed counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from wildseg.metrics.ratio import mean, ratio


class Counts(NamedTuple):
    """True positives, false positives and false negatives: (K,) int64 each, or one number each when summed."""

    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray

    def summed(self) -> Counts:
        """Return the counts over all classes, from which micro values are made."""
        return Counts(*(np.asarray(count.sum()) for count in self))


def counts(target: np.ndarray, preds: np.ndarray, valid: np.ndarray | None = None) -> Counts:
    """Count frames per class.

    Args:
        target: (n, K) bool, the classes in each frame.
        preds: (n, K) bool, the classes that were named.
        valid: (n, K) bool, the entries that count; all by default.
    """
    counted = _entries(target, valid)
    return Counts(
        (target & preds & counted).sum(axis=0),
        (~target & preds & counted).sum(axis=0),
        (target & ~preds & counted).sum(axis=0),
    )


# Per class (K,), or a number when the counts are summed; NaN marks a denominator of 0 --------------------------------


def precision(found: Counts) -> np.ndarray:
    """Return ``TP / (TP + FP)``; NaN for a class that was never named."""
    return ratio(found.true_positives, found.true_positives + found.false_positives)


def recall(found: Counts) -> np.ndarray:
    """Return ``TP / (TP + FN)``; NaN for a class that is in no frame."""
    return ratio(found.true_positives, found.true_positives + found.false_negatives)


def f1(found: Counts) -> np.ndarray:
    """Return ``2 TP / (2 TP + FP + FN)``; NaN for a class neither in a frame nor named."""
    return ratio(2 * found.true_positives, 2 * found.true_positives + found.false_positives + found.false_negatives)


def macro(values: np.ndarray, found: Counts) -> float:
    """Return the mean of per-class values over classes in truth or prediction; what is undefined there counts 0."""
    seen = found.true_positives + found.false_positives + found.false_negatives > 0
    return float(np.nan_to_num(values[seen]).mean()) if seen.any() else float("nan")


def average_precision(target: np.ndarray, scores: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return per-class average precision, ``sum_k (R_k - R_{k-1}) P_k`` over falling scores, without interpolation.

    Frames of equal score are taken together, as in scikit-learn, so that their order does not matter.

    Args:
        target: (n, K) bool.
        scores: (n, K) float, larger means more likely present.
        valid: (n, K) bool, the entries that count; all by default.

    Returns:
        (K,) float64 in [0, 1]; NaN for a class that is in no frame.
    """
    counted = _entries(target, valid)
    columns = zip(target.T, scores.T, counted.T, strict=True)
    return np.array([_average_precision(truth[use], score[use]) for truth, score, use in columns])


def recall_at_precision(
    target: np.ndarray, scores: np.ndarray, precision: float, valid: np.ndarray | None = None
) -> float:
    """Return the highest micro recall that one threshold for all classes reaches with at least this micro precision.

    With it methods are compared at equal precision, wherever each is cut by default.

    Args:
        target: (n, K) bool.
        scores: (n, K) float, comparable between frames and classes.
        precision: in (0, 1].
        valid: (n, K) bool, the entries that count; all by default.

    Returns:
        In [0, 1]; 0 where no threshold is precise enough, NaN where no class is in any frame.
    """
    counted = _entries(target, valid)
    truth, score = target[counted], scores[counted]
    if not truth.any():
        return float("nan")
    hits, predicted = _falling(truth, score)
    return float((hits / truth.sum())[hits / predicted >= precision].max(initial=0.0))


def mean_average_precision(values: np.ndarray) -> float:
    """Return the mean of per-class average precision over classes that are in some frame."""
    return mean(values)


def exact_match(target: np.ndarray, preds: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Return the share of frames whose classes are all right; target, preds, valid: (n, K) bool."""
    wrong = (target != preds) & _entries(target, valid)
    return mean((~wrong.any(axis=1)).astype(np.float64))


def jaccard(target: np.ndarray, preds: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Return the mean over frames of shared classes over named or true ones; 1 for a frame where both are empty."""
    counted = _entries(target, valid)
    shared = (target & preds & counted).sum(axis=1)
    either = ((target | preds) & counted).sum(axis=1)
    return mean(np.where(either > 0, shared / np.maximum(either, 1), 1.0))


def joint_false_negatives(target: np.ndarray, preds: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Return in how many frames two classes are both there and both missed: (K, K) int64, misses on the diagonal.

    Args:
        target: (n, K) bool.
        preds: (n, K) bool.
        valid: (n, K) bool, the entries that count; all by default.
    """
    missed = (target & ~preds & _entries(target, valid)).astype(np.int64)
    return missed.T @ missed


def summary(
    target: np.ndarray, preds: np.ndarray, scores: np.ndarray | None = None, valid: np.ndarray | None = None
) -> dict[str, float]:
    """Return every measure by name; `precision`, `recall` and `f1` are micro values, `map` needs `scores`.

    `always_f1` and `always_macro_f1` are what naming every class in every frame would reach.

    Args:
        target: (n, K) bool.
        preds: (n, K) bool.
        scores: (n, K) float, or None where a method gives none.
        valid: (n, K) bool, the entries that count; all by default.
    """
    found = counts(target, preds, valid)
    always = counts(target, np.ones_like(preds), valid)
    total = found.summed()
    report = {
        "precision": float(precision(total)),
        "recall": float(recall(total)),
        "f1": float(f1(total)),
        "macro_precision": macro(precision(found), found),
        "macro_recall": macro(recall(found), found),
        "macro_f1": macro(f1(found), found),
        "always_f1": float(f1(always.summed())),
        "always_macro_f1": macro(f1(always), always),
        "exact_match": exact_match(target, preds, valid),
        "jaccard": jaccard(target, preds, valid),
    }
    if scores is not None:
        report["map"] = mean_average_precision(average_precision(target, scores, valid))
    return report


def _entries(target: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    return np.ones_like(target, bool) if valid is None else valid


def _average_precision(target: np.ndarray, scores: np.ndarray) -> float:
    # target (n,) bool, scores (n,), one class
    if not target.any():
        return float("nan")
    hits, predicted = _falling(target, scores)
    return float((np.diff(hits, prepend=0) * hits / predicted).sum() / target.sum())


def _falling(target: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # true positives and all positives for each threshold, from the highest score down; ties fall together
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    return np.cumsum(target[order])[last_of_tie], np.arange(1, len(target) + 1)[last_of_tie]
