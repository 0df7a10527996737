"""The counts of single frames: every measure of any set of frames follows from them, and so differences of two runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wildseg.metrics.intervals import of_matrix

LABELS, MAPS, MASKS, MODEL = "labels", "maps", "masks", "model"
LEVELS = (LABELS, MAPS, MASKS, MODEL)
SEEN, HELD_OUT = "seen", "held_out"  # groups of sources


@dataclass(frozen=True)
class FrameCounts:
    """The counts of one frame that has a truth.

    frame: its name. group: `SEEN` or `HELD_OUT`. stretch: of its neighbours, see `wildseg.metrics.intervals`.
    tested: whether the model was not trained on it. levels: (4, n) int64 by level: true positives, false positives,
    false negatives, and those of the latter that were left open, by id; of labels the columns are the classes, (4, K).
    """

    frame: str
    group: str
    stretch: str
    tested: bool
    levels: Mapping[str, np.ndarray]

    @property
    def truth(self) -> np.ndarray:
        """The pixels of the truth by id, (n,)."""
        counts = self.levels[MAPS]
        return counts[0] + counts[2]


def of_confusion(matrix: np.ndarray) -> np.ndarray:
    """Return the counts (4, n) of a frame's confusion matrix (n, n + 1), whose last column is what was left open."""
    return np.concatenate([of_matrix(matrix), matrix[None, :, -1]])


def of_image_labels(counts: np.ndarray) -> np.ndarray:
    """Return counts (3, K) of a frame's labels, see `wildseg.metrics.intervals.of_labels`, as (4, K): none is open."""
    return np.concatenate([counts, np.zeros_like(counts[:1])])


def strict(counts: np.ndarray) -> np.ndarray:
    """Return counts (..., 3, n) in which open pixels are errors, of counts (..., 4, n)."""
    return counts[..., :3, :]


def without_open(counts: np.ndarray) -> np.ndarray:
    """Return counts (..., 3, n) without open pixels, of counts (..., 4, n)."""
    return np.concatenate([counts[..., :2, :], counts[..., 2:3, :] - counts[..., 3:4, :]], axis=-2)
