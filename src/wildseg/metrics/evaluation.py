"""Label images against their truth as one object: IoU, recall and accuracy, over classes and for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wildseg.metrics import confusion as area
from wildseg.metrics.confusion import Confusion


@dataclass(frozen=True)
class Evaluation:
    """What one confusion matrix over all pixels says; every share is in [0, 1], NaN where nothing counts.

    Attributes:
        class_names: n names by id, the background first.
        confusion: (n, n + 1) int64 pixels, rows truth, columns prediction; the last column collects predictions that
            are no class, such as 255, which count as errors. Pixels whose truth is 255 are not counted.
    """

    class_names: tuple[str, ...]
    confusion: np.ndarray

    @property
    def miou(self) -> float:
        """The mean IoU over the ids found in the truth or the prediction, the background among them."""
        return area.miou(self.confusion)

    @property
    def miou_foreground(self) -> float:
        """The mean IoU without the background, whose pixels still count as errors of other classes."""
        return area.miou(self.confusion, background=False)

    @property
    def recall(self) -> float:
        """The mean pixel recall over the ids found in the truth (also called mean accuracy)."""
        return area.mean_recall(self.confusion)

    @property
    def pixel_accuracy(self) -> float:
        """The share of pixels that are right."""
        return area.pixel_accuracy(self.confusion)

    @property
    def fwiou(self) -> float:
        """The IoU weighted by how frequent an id is in the truth."""
        return area.fwiou(self.confusion)

    @property
    def coverage(self) -> float:
        """The share of pixels with a truth whose prediction is a class, not 255."""
        return area.coverage(self.confusion)

    @property
    def class_iou(self) -> dict[str, float]:
        """The IoU of each class and of the background, by name; NaN where an id is in neither truth nor prediction."""
        return self._by_name(area.iou(self.confusion))

    @property
    def class_recall(self) -> dict[str, float]:
        """The pixel recall of each class and of the background, by name; NaN where an id is not in the truth."""
        return self._by_name(area.recall(self.confusion))

    def mean_iou(self, over: Literal["union", "present", "all"] = "union", *, background: bool = True) -> float:
        """Return the mean IoU by another convention.

        Args:
            over: ``union`` averages the ids in truth or prediction, as `miou` does; ``present`` those in the truth;
                ``all`` every id, an absent one counting 0.
            background: whether id 0 is among them.
        """
        return area.miou(self.confusion, over, background=background)

    def _by_name(self, values: np.ndarray) -> dict[str, float]:
        return dict(zip(self.class_names, values.tolist(), strict=True))


def evaluate(pairs: Iterable[tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]) -> Evaluation:
    """Count all pixels of frames in one confusion matrix.

    Args:
        pairs: prediction and truth of each frame, (H, W) integer ids each.
        class_names: by id, the background first.

    Raises:
        DataError: the shapes of a pair differ, or a true id has no class.
    """
    counted = Confusion(len(class_names))
    for preds, target in pairs:
        counted.add(target, preds)
    return Evaluation(tuple(class_names), counted.matrix)
