"""Key frames by mean absolute grey difference to a reference frame (frame differencing).

Against the preceding frame (``previous``), a slow pan yields only its first frame, however far it drifts; against the
last key frame (``last_kept``), any two consecutive key frames differ by more than the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from wildseg.core.errors import ParamsError, did_you_mean
from wildseg.core.limits import Between, Side
from wildseg.frames.options import check_number
from wildseg.frames.sample import Pixels, Sample


def select(
    frames: Iterable[Sample],
    *,
    threshold: Annotated[float, Between(-255, 255)] = 20.0,
    reference: Literal["previous", "last_kept"] = "last_kept",
    width: Side | None = None,
) -> Iterator[tuple[Sample, float]]:
    """Yield the key frames of one source, each with its difference to the reference (infinite for the first).

    Args:
        frames: the frames of one source in order.
        threshold: grey levels, 0 to 255, that the mean difference must exceed.
        reference: compare with the preceding frame, or with the last key frame.
        width: frames are shrunk to at most this width in pixels before the comparison; None for full size.

    Raises:
        ParamsError: an invalid option.
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
    before: Pixels | None = None
    for frame in frames:
        score = math.inf if before is None else frame.pixels.difference(before, width)
        selected = score > threshold
        if selected or reference == "previous":
            before = frame.pixels
        if selected:
            yield frame, score
