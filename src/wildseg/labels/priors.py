"""How likely each class is in a frame, for what weighs it against where the class would be; see `wildseg.crf.prior`.

Scores that mean something beside the others of their frame alone, such as those of TagCLIP, are no probabilities: by
them, masks of the demo lose .026 mIoU. All labels of such a method are certain, as those that a person gave are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from wildseg.labels.tiles import Ticked

SMALLEST = 1e-5  # a class that a label names is never impossible


def label_priors(scores: np.ndarray, present: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """Return how likely each class of a frame's labels is, beside the likeliest: (n, K) float64 in [0, 1].

    Scores are divided by the largest among the frame's labels: so the likeliest class loses nothing to the background,
    whether a method's scores are high by themselves or low.

    Args:
        scores: (n, K) in [0, 1], those of the label method.
        present: (n, K) bool, the labels.
        certain: (n, K) bool, which labels are certain, whatever their scores.

    Returns:
        0 for classes that are not present, at least 1e-5 for the others.
    """
    own = scores * present
    largest = own.max(1, keepdims=True, initial=0.0)
    shares = np.divide(own, largest, out=np.ones_like(own), where=largest > 0)
    return np.where(present, np.where(certain, 1.0, np.maximum(shares, SMALLEST)), 0.0)


def decided_by_a_person(
    frames: Sequence[str], num_classes: int, corrected: Collection[str], ticks: Mapping[str, Ticked]
) -> np.ndarray:
    """Return which labels a person decided, (n, K) bool: all of a corrected frame, and classes that tiles were ticked.

    Args:
        frames: the n names.
        num_classes: K.
        corrected: the frames whose labels a person gave.
        ticks: by frame; of frames that are not among `frames` they change nothing.
    """
    decided = np.zeros((len(frames), num_classes), bool)
    for row, frame in zip(decided, frames, strict=True):
        own = ticks.get(frame)
        row[:] = frame in corrected or (own is not None and np.any(own.labels & own.ticked[..., None], (0, 1)))
    return decided
