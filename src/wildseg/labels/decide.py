"""From scores to present and absent classes, and a person's corrections on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wildseg.errors import DataError, ParamsError, did_you_mean


def decide(
    scores: np.ndarray,
    class_names: Sequence[str],
    natural: float,
    threshold: float | Mapping[str, float] | str = "auto",
    fallback: str = "none",
) -> np.ndarray:
    """Return which classes are present: (n, K) bool, those whose score is strictly above the threshold.

    Args:
        scores: (n, K) in [0, 1].
        class_names: the K names.
        natural: the threshold that suits the method; taken for ``"auto"`` and for classes that a mapping leaves out.
        threshold: ``"auto"``, one number, or a number per class name.
        fallback: ``"argmax"`` gives a frame in which nothing passes its best class, ``"none"`` leaves it empty.

    Raises:
        ParamsError: the mapping names a class that does not exist, or the fallback is another word.
    """
    if fallback not in ("none", "argmax"):
        raise ParamsError(f"label.fallback: expected none or argmax, found {fallback!r}")
    present = scores > thresholds(class_names, natural, threshold)
    if fallback == "argmax":
        empty = ~present.any(1)
        present[empty, scores[empty].argmax(1)] = True
    return present


def thresholds(class_names: Sequence[str], natural: float, threshold: float | Mapping[str, float] | str) -> np.ndarray:
    """Return one threshold per class: (K,) float64."""
    if isinstance(threshold, Mapping):
        for name in threshold:
            if name not in class_names:
                raise ParamsError(f"label.threshold.{name}: there is no such class{did_you_mean(name, class_names)}")
        return np.array([float(threshold.get(name, natural)) for name in class_names])
    if threshold == "auto":
        threshold = natural
    elif isinstance(threshold, str):
        raise ParamsError(f"label.threshold: expected auto, a number, or a number per class; found {threshold!r}")
    return np.full(len(class_names), float(threshold))


def correct(
    frames: Sequence[str], present: np.ndarray, overrides: Mapping[str, np.ndarray], where: object
) -> np.ndarray:
    """Return `present` with the rows of `overrides` in place of a method's: (n, K) bool.

    Args:
        frames: the n names.
        present: (n, K) bool, what the method decided.
        overrides: by frame (K,) bool, what a person says; holds for all classes of that frame.
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
