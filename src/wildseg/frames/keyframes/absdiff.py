"""Key frames by mean absolute grey difference: a frame is kept when it differs enough from an earlier one.

Against the frame before (``previous``), a slow pan keeps only its first frame, however far it drifts; against the last
frame that was kept (``last_kept``), any two consecutive key frames differ by more than the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import cv2
import numpy as np

from wildseg.errors import ParamsError, did_you_mean
from wildseg.frames.image import resize
from wildseg.frames.options import check_number
from wildseg.frames.sample import Sample


def select(
    frames: Iterable[Sample],
    *,
    threshold: float = 20.0,
    reference: Literal["previous", "last_kept"] = "last_kept",
    width: int | None = None,
) -> Iterator[tuple[Sample, float]]:
    """Yield the frames of one source to keep, each with its difference to the reference (infinite for the first).

    Args:
        frames: the frames of one source in order.
        threshold: grey levels, 0 to 255, that the mean difference must exceed.
        reference: compare with the frame before, kept or not, or with the last one kept.
        width: shrink frames to at most this many pixels across before comparing; None compares them whole.

    Raises:
        ParamsError: an option that means nothing.
    """
    check_number("absdiff.threshold", threshold)
    check_number("absdiff.width", width, low=1, whole=True, optional=True)
    if reference not in ("previous", "last_kept"):
        raise ParamsError(
            f"extract.options.absdiff.reference: expected previous or last_kept, found {reference!r}"
            + did_you_mean(reference, ("previous", "last_kept"))
        )
    return _select(frames, threshold, reference, width)


def _select(
    frames: Iterable[Sample], threshold: float, reference: str, width: int | None
) -> Iterator[tuple[Sample, float]]:
    before: np.ndarray | None = None
    for frame in frames:
        grey = frame.pixels.grey(width)
        score = math.inf if before is None else difference(before, grey)
        keep = score > threshold
        if keep or reference == "previous":
            before = grey
        if keep:
            yield frame, score


def difference(earlier: np.ndarray, later: np.ndarray) -> float:
    """Return the mean of |earlier - later| over pixels, 0 to 255; both (H, W) uint8.

    A later frame of another size is brought to the size of the earlier one.
    """
    height, width = earlier.shape
    return cv2.norm(earlier, resize(later, width, height), cv2.NORM_L1) / earlier.size
