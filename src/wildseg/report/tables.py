"""The tables of DVC's plots: IoU per class and level, confusions, and joint false negatives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

IOU_COLUMNS = ("class", "level", "iou")
CONFUSION_COLUMNS = ("actual", "predicted", "share")
JOINT_FALSE_NEGATIVE_COLUMNS = ("class", "with", "share")


def iou_rows(levels: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, str, str]]:
    """Yield (class, level, IoU) for all that was measured.

    Args:
        levels: by the level's name, measures by name, of which those called ``iou.<class>`` are taken.
    """
    for level, measures in levels.items():
        for name, value in measures.items():
            if name.startswith("iou.") and math.isfinite(value):
                yield name.removeprefix("iou."), level, f"{value:.6f}"


def confusion_rows(confusion: np.ndarray, names: Sequence[str], background: bool) -> Iterator[tuple[str, str, str]]:
    """Yield (true class, answered class, share of the true class's pixels) for true classes that occur.

    Args:
        confusion: (n, n + 1) counts, rows truth; the last column, answers that are no class, is left out.
        names: by id, the background first.
        background: whether it may be answered.
    """
    for actual, row in zip(names, confusion, strict=True):
        for predicted in range(0 if background else 1, len(names)) if row.any() else ():
            yield actual, names[predicted], f"{row[predicted] / row.sum():.6f}"


def joint_false_negative_rows(together: np.ndarray, names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (class, other class, share): of the frames where the class is a false negative, those where both are.

    Args:
        together: (K, K) frames, false negatives of a class by itself on the diagonal; a class without any has no rows.
        names: of the K classes.
    """
    for index, name in enumerate(names):
        for other in range(len(names)) if together[index, index] else ():
            yield name, names[other], f"{together[index, other] / together[index, index]:.6f}"
