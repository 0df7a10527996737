"""From scores to present and absent classes, and manual corrections on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wildseg.core.errors import DataError, ParamsError, did_you_mean
from wildseg.labels.interface import LabelResult

if TYPE_CHECKING:
    from wildseg.labels.params import Label

NO_THRESHOLD = (
    "label.threshold: for label.rule fixed this method has none of its own; expected a number, or one for each class; "
    "or set label.rule to auto"
)
HALF_WAY = 0.5  # between a frame's lowest score and its highest: TagCLIP's share


def present_classes(scores: np.ndarray, class_names: Sequence[str], result: LabelResult, label: Label) -> np.ndarray:
    """Return which classes are present: (n, K) bool, by the parameters of the section label.

    Args:
        scores: (n, K) in [0, 1].
        class_names: the K names.
        result: any of the method's, for the threshold that suits it.
        label: the parameters.

    Raises:
        ParamsError: see `decide`.
    """
    natural, relative = threshold_rule(result, label.rule)
    return decide(scores, class_names, natural, label.threshold, label.fallback, relative=relative)


def decide(
    scores: np.ndarray,
    class_names: Sequence[str],
    default: float | None,
    threshold: float | Mapping[str, float] | str = "auto",
    fallback: str = "none",
    *,
    relative: bool = False,
) -> np.ndarray:
    """Return which classes are present: (n, K) bool, those whose score is strictly above the threshold.

    Args:
        scores: (n, K) in [0, 1].
        class_names: the K names.
        default: the threshold that suits the method; taken for ``"auto"`` and for classes that a mapping leaves out.
            None where there is none, see `threshold_rule`.
        threshold: ``"auto"``, one number, or a number per class name.
        fallback: ``"argmax"`` gives a frame in which nothing passes its best class, unless all its scores are 0: where
            no class was found there is no best one. ``"none"`` leaves it empty.
        relative: a threshold t stands for ``min + t (max - min)`` of the frame's own scores (TagCLIP, Lin et al. 2024).
            With t < 1 every frame whose scores are not all the same has a class then.

    Raises:
        ParamsError: the mapping names a class that does not exist, or the fallback is another word.
    """
    if fallback not in ("none", "argmax"):
        raise ParamsError(f"label.fallback: expected none or argmax, found {fallback!r}")
    cut = thresholds(class_names, default, threshold)
    if relative:
        low, high = scores.min(1, keepdims=True), scores.max(1, keepdims=True)
        cut = low + cut * (high - low)  # (n, K)
    present = scores > cut
    if fallback == "argmax":
        empty = ~present.any(1) & scores.any(1)
        present[empty, scores[empty].argmax(1)] = True
    return present


def relative_scores(scores: np.ndarray) -> np.ndarray:
    """Return where scores (n, K) lie between their frame's lowest, 0, and highest, 1; 0 where all are the same."""
    low, high = scores.min(1, keepdims=True), scores.max(1, keepdims=True)
    return (scores - low) / np.where(high > low, high - low, 1.0)


def threshold_rule(answer: LabelResult, rule: str) -> tuple[float | None, bool]:
    """Return the natural threshold, and whether thresholds are relative; None where none suits the rule.

    Args:
        answer: any of the method's.
        rule: ``fixed``, ``relative``, or ``auto``: what suits the method.
    """
    relative = answer.relative if rule == "auto" else rule == "relative"
    if relative == answer.relative:
        return answer.threshold, relative
    return (HALF_WAY if relative else None), relative


def thresholds(
    class_names: Sequence[str], default: float | None, threshold: float | Mapping[str, float] | str
) -> np.ndarray:
    """Return one threshold per class: (K,) float64."""
    if isinstance(threshold, Mapping):
        for name in threshold:
            if name not in class_names:
                raise ParamsError(f"label.threshold.{name}: there is no such class{did_you_mean(name, class_names)}")
        if default is None and any(name not in threshold for name in class_names):
            raise ParamsError(NO_THRESHOLD)
        return np.array([float(threshold.get(name, default or 0.0)) for name in class_names])
    if threshold == "auto":
        if default is None:
            raise ParamsError(NO_THRESHOLD)
        threshold = default
    elif isinstance(threshold, str):
        raise ParamsError(f"label.threshold: expected auto, a number, or a number per class; found {threshold!r}")
    return np.full(len(class_names), float(threshold))


def apply_overrides(
    frames: Sequence[str], present: np.ndarray, overrides: Mapping[str, np.ndarray], where: object
) -> np.ndarray:
    """Return `present` with the rows of `overrides` in place of a method's: (n, K) bool.

    Args:
        frames: the n names.
        present: (n, K) bool, what the method decided.
        overrides: by frame (K,) bool, manual labels, which replace those of all classes of that frame.
        where: the file they stand in, for the error line.

    Raises:
        DataError: a frame that is not among `frames`.
    """
    corrected = present.copy()
    row = {frame: index for index, frame in enumerate(frames)}
    for frame, is_in in overrides.items():
        if frame not in row:
            raise DataError(
                f"{where}: expected frames of data/frames/frames.csv, found {frame!r}{did_you_mean(frame, frames)}"
            )
        corrected[row[frame]] = is_in
    return corrected
