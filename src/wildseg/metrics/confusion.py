"""The confusion matrix of a whole split, and what is read from it: IoU, recall, accuracy.

``n_ij`` counts pixels of true class i predicted as j over all frames; ``t_i`` are its row sums (truth) and ``q_j`` its
column sums (prediction). A last column, n, collects predictions outside 0..n-1, such as 255: they are in ``t_i``, so
they count as errors, and in no ``q_j``.

Conventions (libraries differ): our mIoU averages over classes found in the truth *or* the prediction; one matrix over
the split, never a mean of frames; pixels whose truth is 255 are not counted; background is a class like any other.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from wildseg.core.classes import BACKGROUND, IGNORE
from wildseg.core.errors import DataError
from wildseg.metrics.ratio import mean, ratio


class Confusion:
    """A confusion matrix that grows frame by frame."""

    def __init__(self, num_classes: int) -> None:
        """Start from zero; `num_classes` counts background, ids are 0..num_classes-1."""
        self.matrix = np.zeros((num_classes, num_classes + 1), np.int64)

    def add(self, target: np.ndarray, preds: np.ndarray) -> np.ndarray:
        """Count one frame; target, preds: (H, W) integer ids. Returns the matrix of the frame alone."""
        found = confusion_matrix(target, preds, len(self.matrix))
        self.matrix += found
        return found

    def merge(self, other: Confusion) -> None:
        """Count everything that `other` has counted."""
        self.matrix += other.matrix


def confusion_matrix(target: np.ndarray, preds: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels by true and predicted class.

    Args:
        target: integer ids in 0..num_classes-1, or 255 where the truth is not known; any shape.
        preds: integer ids, of the same shape; those outside 0..num_classes-1 go to the last column.
        num_classes: n, background included.

    Returns:
        (n, n + 1) int64, rows truth, columns prediction.

    Raises:
        DataError: the shapes differ, or a true id has no class.
    """
    if target.shape != preds.shape:
        raise DataError(f"expected a prediction of the truth's shape {target.shape}, found {preds.shape}")
    known = target != IGNORE
    rows, columns = target[known].astype(np.int64), preds[known].astype(np.int64)
    if rows.size and not 0 <= rows.min() <= rows.max() < num_classes:
        raise DataError(f"expected true ids below {num_classes} or {IGNORE}, found {rows.min()} to {rows.max()}")
    columns[(columns < 0) | (columns >= num_classes)] = num_classes
    width = num_classes + 1
    return np.bincount(rows * width + columns, minlength=num_classes * width).reshape(num_classes, width)


def raise_truth_ids(confusion: np.ndarray) -> np.ndarray:
    """Return the matrix (n, n + 1) as if every true id were one higher; pixels of the last one are not counted."""
    shifted = np.zeros_like(confusion)
    shifted[1:] = confusion[:-1]
    return shifted


# Per class: (n,) float64, NaN where the denominator is 0 -----------------------------------------------------------


def iou(confusion: np.ndarray) -> np.ndarray:
    """Return intersection over union, ``n_ii / (t_i + q_i - n_ii)``."""
    hits, truth, predicted = _counts(confusion)
    return ratio(hits, truth + predicted - hits)


def recall(confusion: np.ndarray) -> np.ndarray:
    """Return pixel recall, ``n_ii / t_i``."""
    hits, truth, _ = _counts(confusion)
    return ratio(hits, truth)


def precision(confusion: np.ndarray) -> np.ndarray:
    """Return pixel precision, ``n_ii / q_i``."""
    hits, _, predicted = _counts(confusion)
    return ratio(hits, predicted)


def dice(confusion: np.ndarray) -> np.ndarray:
    """Return the Dice coefficient, ``2 n_ii / (t_i + q_i)``."""
    hits, truth, predicted = _counts(confusion)
    return ratio(2 * hits, truth + predicted)


# Over classes: one float, NaN where nothing was counted --------------------------------------------------------------


def miou(
    confusion: np.ndarray, over: Literal["union", "present", "all"] = "union", *, background: bool = True
) -> float:
    """Return the mean IoU.

    Args:
        confusion: (n, n + 1) int64.
        over: which classes are averaged. ``union``: those in truth or prediction, our mIoU (as chainercv, mmseg and
            torchmetrics' JaccardIndex do); ``present``: those in the truth (as deeplab-pytorch and CLIP-ES do);
            ``all``: every class, an absent one counting 0.
        background: whether class 0 is among them. Its pixels count as errors of other classes either way.
    """
    values = iou(confusion)
    if over == "present":
        values[confusion.sum(axis=1) == 0] = np.nan
    elif over == "all":
        values = np.nan_to_num(values)
    return mean(values if background else np.delete(values, BACKGROUND))


def mean_recall(confusion: np.ndarray) -> float:
    """Return the mean of per-class pixel recall over classes present in the truth (also called mean accuracy)."""
    return mean(recall(confusion))


def mean_dice(confusion: np.ndarray) -> float:
    """Return the mean Dice coefficient over classes in truth or prediction."""
    return mean(dice(confusion))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Return the share of pixels that are right."""
    hits, truth, _ = _counts(confusion)
    return float(ratio(hits.sum(), truth.sum()))


def fwiou(confusion: np.ndarray) -> float:
    """Return the IoU weighted by how frequent a class is in the truth, ``sum_i t_i / sum(t) IoU_i``."""
    truth = confusion.sum(axis=1)
    return float(ratio((truth * np.nan_to_num(iou(confusion))).sum(), truth.sum()))


def coverage(confusion: np.ndarray) -> float:
    """Return the share of pixels with a truth whose prediction is a class, not 255."""
    return float(ratio(confusion[:, :-1].sum(), confusion.sum()))


def without_ignored(confusion: np.ndarray) -> np.ndarray:
    """Return the matrix without the pixels whose prediction is no class.

    Measures of the whole matrix are strict: a 255 in a pseudo mask is wrong. Those of this one leave it out, and so
    say little without the `coverage` beside them.
    """
    return np.concatenate([confusion[:, :-1], np.zeros_like(confusion[:, -1:])], axis=1)


def summary(confusion: np.ndarray) -> dict[str, float]:
    """Return every measure over classes by name; `miou` is the one over the union, with background."""
    return {
        "miou": miou(confusion),
        "miou_present": miou(confusion, "present"),
        "miou_all": miou(confusion, "all"),
        "miou_without_background": miou(confusion, background=False),
        "recall": mean_recall(confusion),
        "pixel_accuracy": pixel_accuracy(confusion),
        "fwiou": fwiou(confusion),
        "dice": mean_dice(confusion),
        "classes_counted": int(np.isfinite(iou(confusion)).sum()),
    }


def _counts(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # n_ii, t_i, q_i, each (n,)
    return np.diagonal(confusion), confusion.sum(axis=1), confusion[:, : len(confusion)].sum(axis=0)
