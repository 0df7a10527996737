"""Label-free measures of a group of frames: what is known of a model where no truth says how good it is.

All come from frames that the model was not trained on, as far as there are any. High agreement is necessary for a good
model and not sufficient: a model that learned the errors of its pseudo masks agrees with them, and one that answers the
same everywhere is perfectly consistent.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import numpy as np

from wildseg.metrics import intervals
from wildseg.metrics.agreement import Agreement
from wildseg.metrics.budget import Measure
from wildseg.metrics.consistency import equal_pixels
from wildseg.metrics.expected_iou import Estimate, estimate
from wildseg.metrics.intervals import Counts, Interval

MASKS, MAPS, FLIP, SCALE, NEIGHBOURS = "masks_model", "maps_model", "flip", "scale", "neighbours"
ALONG_FLOW = "along_flow"  # neighbours again, where the optical flow knows what moved
PAIRS = (MASKS, MAPS, FLIP, SCALE, NEIGHBOURS, ALONG_FLOW)
CONFIDENT = 0.9  # probability from which a pixel is confident
HEADLINE = ("estimated_miou", "flip.miou", "neighbours.miou", "confident")
NOTHING = Measure(float("nan"), Interval(float("nan"), float("nan")))


class PairMeasure(NamedTuple):
    """Agreement of two label images over frames: share of equal pixels, and mean IoU of one with the other."""

    pixels: Measure
    miou: Measure


class LabelFree:
    """Counts of a group of frames; `labels` is the agreement of two tables of labels, where there are two."""

    def __init__(self) -> None:
        """Start without a frame."""
        self.labels: Agreement | None = None
        self._pairs = Counts()
        self._confident = Counts()
        self._expected: dict[Hashable, np.ndarray] = {}

    def add_pair(self, name: str, stretch: Hashable, counts: np.ndarray) -> None:
        """Count a pair of label images of one frame, one of `PAIRS`: (3, n), see `consistency.pair_counts`."""
        self._pairs.add(name, stretch, counts)

    def add_probabilities(self, stretch: Hashable, confident: int, pixels: int, statistics: np.ndarray) -> None:
        """Count the model's probabilities of one frame.

        Args:
            stretch: of the frame.
            confident: the number of pixels of a probability of at least `CONFIDENT`.
            pixels: how many there are.
            statistics: (G, 3 n + 1), see `expected_iou.pixel_statistics`.
        """
        self._confident.add("", stretch, np.array([[confident], [0], [pixels - confident]]))
        self._expected[stretch] = self._expected[stretch] + statistics if stretch in self._expected else statistics

    @property
    def frames(self) -> int:
        """How many frames' probabilities were counted."""
        return self._confident.frames("")

    def pair(self, name: str) -> PairMeasure:
        """Return the agreement of one of `PAIRS`; NaN where no pair was counted."""
        counted = self._pairs.by_stretch(name)
        return PairMeasure(_measure(counted, equal_pixels), _measure(counted, intervals.miou))

    def confident(self) -> Measure:
        """Return the share of confident pixels."""
        return _measure(self._confident.by_stretch(""), intervals.micro(intervals.recall))

    def estimate(self) -> Estimate:
        """Return the mIoU that the model expects of itself."""
        sums = list(self._expected.values())
        return estimate(np.stack(sums) if sums else np.zeros((0, 1, 1)))

    def report(self) -> dict[str, float]:
        """Return ``{measure: value}`` as metrics/eval.json holds it, ``<pair>.pixels`` and ``<pair>.miou`` of pairs."""
        found = self.estimate()
        low, high = found.miou.interval
        report: dict[str, float] = {
            "frames": self.frames,
            "estimated_miou": found.miou.value,
            "estimated_miou_low": low,
            "estimated_miou_high": high,
            "temperature": found.temperature,
            "confident": self.confident().value,
        }
        for name in PAIRS:
            one = self.pair(name)
            report |= {f"{name}.pixels": one.pixels.value, f"{name}.miou": one.miou.value}
        if self.labels is not None:
            report |= {"labels.equal": self.labels.overall, "labels.kappa": self.labels.pooled_kappa}
        return report


def headline(report: Mapping[str, float]) -> dict[str, float]:
    """Return the few label-free measures that a headline has room for, of what `LabelFree.report` returned."""
    return {name: report[name] for name in HEADLINE}


def _measure(counted: np.ndarray, measure: intervals.PerClass) -> Measure:
    if not len(counted):
        return NOTHING
    return Measure(float(measure(counted.sum(axis=0))), intervals.interval(counted, measure))
