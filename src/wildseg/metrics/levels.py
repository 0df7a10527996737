"""The four levels at which a pipeline is measured: image labels, activation maps, pseudo masks, the trained model.

Errors flow downwards, so the first level whose numbers are low is the one to work on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from wildseg.metrics import confusion as area
from wildseg.metrics import multilabel
from wildseg.metrics.confusion import Confusion
from wildseg.metrics.ratio import harmonic_mean, mean

Report = dict[str, dict[str, float]]


def classes_in(truth: np.ndarray, num_classes: int, min_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes present in a frame, by its truth.

    A class of fewer pixels than `min_share` of the frame is neither present nor absent, and does not
    count.

    Args:
        truth: (H, W) ids; class index k has the id k + 1.
        num_classes: K.
        min_share: share of the frame's pixels in [0, 1].

    Returns:
        present (K,) bool, valid (K,) bool: whether the entry counts.
    """
    pixels = np.bincount(truth.ravel(), minlength=num_classes + 1)[1 : num_classes + 1]
    present = (pixels > 0) & (pixels >= min_share * truth.size)
    return present, present | (pixels == 0)


def pseudo_measures(matrix: np.ndarray) -> dict[str, float]:
    """Return the measures of pseudo masks over all classes: see `Levels.report`."""
    known = area.without_ignored(matrix)
    return {"miou": area.miou(known), "miou_strict": area.miou(matrix), "coverage": area.coverage(matrix)}


class Levels:
    """What was counted on a group of frames, level by level."""

    def __init__(self, class_names: Sequence[str], background: bool, unseen: Collection[str] = ()) -> None:
        """Start from zero.

        Args:
            class_names: of the ids 1, 2, ...
            background: whether a pixel may belong to no class, so that id 0 is measured like a class.
            unseen: names of classes that the model was not trained on; it is then measured on them apart.
        """
        self.class_names = list(class_names)
        self.unseen = frozenset(unseen)
        self.background = background
        self.cam, self.pseudo, self.segmenter = (Confusion(len(class_names) + 1) for _ in range(3))
        self._labels: list[tuple[np.ndarray, ...]] = []  # target, valid, named, scores: (K,) each, by frame

    def add_labels(
        self, target: np.ndarray, valid: np.ndarray, predicted: np.ndarray, scores: np.ndarray | None = None
    ) -> None:
        """Count the labels of one frame: (K,) bool each, scores (K,) float, or None where the method gives none."""
        self._labels.append((target, valid, predicted, np.full(len(target), np.nan) if scores is None else scores))

    @property
    def frames(self) -> int:
        """How many frames' labels were counted."""
        return len(self._labels)

    def report(self) -> Report:
        """Return ``{level: {measure: value}}``; per-class values are ``<measure>.<class>``; NaN where nothing counts.

        `pseudo.miou`, `pseudo.recall` and the IoU per class leave pixels out that a pseudo mask leaves open, and
        `pseudo.coverage` says how many it does not; `pseudo.miou_strict` counts open pixels as errors. Where there are
        unseen classes, `segmenter` has the mIoU over seen classes (the background, if any, is one), that over unseen
        ones, and their harmonic mean, as generalised zero-shot segmentation reports (Xian et al., CVPR 2019).
        """
        return {
            "labels": self._label_report(),
            "cam": self._area(self.cam.matrix, "miou", "recall"),
            "pseudo": self._area(area.without_ignored(self.pseudo.matrix), "miou", "recall")
            | pseudo_measures(self.pseudo.matrix),
            "segmenter": self._area(self.segmenter.matrix, "miou", "recall", "fwiou", "pixel_accuracy")
            | {"miou_foreground": area.miou(self.segmenter.matrix, background=False)}
            | self._seen_and_unseen()
            | self._by_class("recall", area.recall(self.segmenter.matrix)),
        }

    def joint_false_negatives(self) -> np.ndarray:
        """Return the number of frames in which two classes are both false negatives: (K, K), symmetric."""
        target, valid, predicted, _ = self._columns()
        return multilabel.joint_false_negatives(target, predicted, valid)

    def _columns(self) -> list[np.ndarray]:
        # target, valid, named, scores: (n, K) each
        if not self._labels:
            return [np.zeros((0, len(self.class_names)), kind) for kind in (bool, bool, bool, float)]
        return [np.stack(column) for column in zip(*self._labels, strict=True)]

    def _label_report(self) -> dict[str, float]:
        target, valid, predicted, scores = self._columns()
        scored = np.isfinite(scores).all()
        measured = {"map": np.nan} | multilabel.summary(target, predicted, scores if scored else None, valid)
        found = multilabel.counts(target, predicted, valid)
        for measure in (multilabel.precision, multilabel.recall, multilabel.f1):
            values = zip(self.class_names, measure(found), strict=True)
            measured |= {f"{measure.__name__}.{name}": float(value) for name, value in values}
        return measured

    def _area(self, matrix: np.ndarray, *measures: str) -> dict[str, float]:
        measured = area.summary(matrix)
        return {name: measured[name] for name in measures} | self._by_class("iou", area.iou(matrix))

    def _seen_and_unseen(self) -> dict[str, float]:
        if not self.unseen:
            return {}
        values = area.iou(self.segmenter.matrix)  # (K + 1,), by id
        new = np.array([name in self.unseen for name in ["background", *self.class_names]])
        seen, unseen = mean(values[~new]), mean(values[new])
        both = {"miou_seen_classes": seen, "miou_unseen_classes": unseen}
        return both | {"miou_harmonic": harmonic_mean(seen, unseen)}

    def _by_class(self, measure: str, values: np.ndarray) -> dict[str, float]:
        # values (K + 1,), by id
        names = ["background", *self.class_names]
        first = 0 if self.background else 1
        return {f"{measure}.{names[id_]}": float(values[id_]) for id_ in range(first, len(names))}
