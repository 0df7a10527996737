"""Measures of single frames, by which they are sorted: errors where there is truth, else disagreement."""

from __future__ import annotations

import numpy as np

from wildseg.core.classes import IGNORE
from wildseg.metrics import confusion as area
from wildseg.metrics.confusion import confusion_matrix


def disagreement(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of pixels with different ids among those where both, (H, W) ids each, name a class.

    NaN where there is no such pixel.
    """
    decided = (one != IGNORE) & (other != IGNORE)
    return float((one != other)[decided].mean()) if decided.any() else float("nan")


def id_shares(ids: np.ndarray) -> np.ndarray:
    """Return the share of pixels of each id: (256,) float64; ids: (H, W) uint8."""
    return np.bincount(ids.ravel(), minlength=256) / max(ids.size, 1)


def frame_ious(truth: np.ndarray, ids: np.ndarray, num_classes: int) -> tuple[float, np.ndarray]:
    """Return the mean IoU of one frame over its classes in truth or prediction, and that of each id, NaN elsewhere.

    Args:
        truth: (H, W) ids in 0..num_classes-1, or 255 where it is not known.
        ids: (H, W) prediction; what is no class is wrong.
        num_classes: n, background included.

    Returns:
        mIoU, NaN without a pixel of truth, and (n,) float64.
    """
    matrix = confusion_matrix(truth, ids, num_classes)
    return area.miou(matrix), area.iou(matrix)
