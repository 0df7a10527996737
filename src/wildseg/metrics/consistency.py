"""Agreement of two label images of the same frame, which needs no truth: equal pixels, and IoU of one with the other.

Counts are those of a confusion matrix of both, ``n_ij`` pixels of class i in one and j in the other; pixels that either
leaves open (255) are not counted. The IoU of a class, ``n_ii / (t_i + q_i - n_ii)``, is the same whichever is taken for
the truth. The share of equal pixels is that of the large classes; the mean IoU counts a thin class like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from wildseg.core.classes import IGNORE
from wildseg.metrics.confusion import confusion_matrix
from wildseg.metrics.intervals import SECONDS, of_matrix
from wildseg.metrics.ratio import ratio


class TimedFrame(Protocol):
    """A frame of a source; its time in seconds is None for a photo."""

    @property
    def source(self) -> str:
        """The name of its video or folder."""

    @property
    def time_s(self) -> float | None:
        """Its presentation time."""


FrameT = TypeVar("FrameT", bound=TimedFrame)


def pair_counts(one: np.ndarray, other: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the counts of two label images, as `wildseg.metrics.intervals` sums and redraws them.

    Args:
        one: ids in 0..num_classes-1, or 255 where it is open; any shape.
        other: of the same shape.
        num_classes: n, background included.

    Returns:
        (3, n) int64: by class, pixels of both, of `other` alone, of `one` alone.

    Raises:
        DataError: the shapes differ, or an id of `one` has no class.
    """
    known = np.where(other == IGNORE, IGNORE, one) if one.shape == other.shape else one
    return of_matrix(confusion_matrix(known, other, num_classes))


def equal_pixels(counts: np.ndarray) -> np.ndarray:
    """Return the share (...) of pixels of equal class, of counts (..., 3, n); NaN without a pixel."""
    equal = counts[..., 0, :].sum(axis=-1)
    return ratio(equal, equal + counts[..., 2, :].sum(axis=-1))


def neighbours(frames: Sequence[FrameT], longest_s: float = SECONDS) -> Mapping[FrameT, FrameT]:
    """Return the next key frame of each frame of a video that has one at most `longest_s` seconds later.

    Photos have no times, and so no neighbours. `frames` are in the order of time, source by source.
    """
    return {
        frame: after
        for frame, after in zip(frames, frames[1:], strict=False)
        if frame.source == after.source
        and frame.time_s is not None
        and after.time_s is not None
        and 0 < after.time_s - frame.time_s <= longest_s
    }
