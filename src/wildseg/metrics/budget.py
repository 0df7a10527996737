"""The error budget: each level of the pipeline measured on the same frames, so that the steps between them can be read.

Two levels are no output of a stage, but what the truth makes of one: ``ceiling`` is the truth without the pixels of
classes that the labels miss, what perfect maps would reach with these labels; ``true_maps`` are the maps of those
classes alone that the truth shows, what is left of the maps' errors when no label is wrong. Missed labels have no map,
so that maps of perfect labels can only be measured by computing them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from wildseg.metrics import intervals
from wildseg.metrics.frame_counts import FrameCounts
from wildseg.metrics.intervals import Counts, Interval, of_labels, of_matrix

LABELS, CEILING, TRUE_MAPS, MAPS, MASKS, MODEL = "labels", "ceiling", "true_maps", "maps", "masks", "model"
STEPS = (CEILING, TRUE_MAPS, MAPS, MASKS, MODEL)
TESTED = "/tested"  # behind the name of a level: of the frames that the model was not trained on


@dataclass(frozen=True)
class Measure:
    """A value and its interval; NaN where nothing was measured, or too little."""

    value: float
    interval: Interval


class Budget:
    """Counts of all levels on the frames of a group that have a truth."""

    def __init__(self) -> None:
        """Start from zero."""
        self.counts = Counts()
        self.by_frame: list[FrameCounts] = []

    def add_labels(
        self, stretch: Hashable, tested: bool, target: np.ndarray, valid: np.ndarray, named: np.ndarray
    ) -> None:
        """Count the labels of a frame: present, counted and named classes, (K,) bool each."""
        self._add(LABELS, stretch, tested, of_labels(target, valid, named))

    def add_matrix(self, level: str, stretch: Hashable, tested: bool, matrix: np.ndarray) -> None:
        """Count the confusion matrix (n, n + 1) of a frame at a level; what is no class is wrong."""
        self._add(level, stretch, tested, of_matrix(matrix))

    def add_ceiling(self, stretch: Hashable, tested: bool, pixels: np.ndarray, named: np.ndarray) -> None:
        """Count what perfect maps of a frame's labels would reach: all pixels of other classes are missed.

        Args:
            stretch: of the frame.
            tested: whether the model was not trained on it.
            pixels: (n,) of the truth by id, the background first.
            named: (K,) bool, the classes that the frame is labelled with.
        """
        found = pixels * np.concatenate([[True], named])
        self._add(CEILING, stretch, tested, np.stack([found, np.zeros_like(found), pixels - found]))

    def _add(self, level: str, stretch: Hashable, tested: bool, counts: np.ndarray) -> None:
        self.counts.add(level, stretch, counts)
        if tested:
            self.counts.add(level + TESTED, stretch, counts)

    def frames(self, tested: bool = False) -> int:
        """Return how many frames have a truth, or those of them that the model was not trained on."""
        return self.counts.frames(LABELS + TESTED * tested)

    def miou(self, level: str) -> Measure:
        """Return the mIoU of a level, or of the same behind which `TESTED` stands."""
        return self._measure(level, intervals.miou)

    def labels(self, tested: bool) -> tuple[Measure, Measure]:
        """Return F1 and recall of the labels, over all frames and classes."""
        level = LABELS + TESTED * tested
        return self._measure(level, intervals.micro(intervals.f1)), self._measure(
            level, intervals.micro(intervals.recall)
        )

    def by_class(self, level: str, measure: intervals.PerClass) -> list[Measure]:
        """Return a measure per class, such as `intervals.iou`: by index of labels, by id of all other levels."""
        counted = self.counts.by_stretch(level)
        if not len(counted):
            return []
        values = measure(counted.sum(0))
        low, high = intervals.intervals(counted, measure)
        return [Measure(float(v), Interval(float(a), float(b))) for v, a, b in zip(values, low, high, strict=True)]

    def _measure(self, level: str, measure: intervals.PerClass) -> Measure:
        counted = self.counts.by_stretch(level)
        if not len(counted):
            return Measure(float("nan"), Interval(float("nan"), float("nan")))
        return Measure(float(measure(counted.sum(0))), intervals.interval(counted, measure))
