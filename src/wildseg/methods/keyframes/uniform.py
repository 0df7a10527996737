"""Key frames at a fixed interval of presentation time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from wildseg.core.limits import Seconds
from wildseg.frames.options import check_number
from wildseg.frames.sample import Sample
from wildseg.frames.subsampling import RateSubsampler


def select(frames: Iterable[Sample], *, every_s: Seconds = 1.0) -> Iterator[tuple[Sample, float]]:
    """Yield the first frame of each `every_s` seconds, with the seconds since the previous one (infinite at first).

    Photos have no time stamps: each counts as one second.

    Raises:
        ParamsError: `every_s` is not a positive number.
    """
    check_number("uniform.every_s", every_s, low=0, above=True)
    return _select(frames, every_s)


def _select(frames: Iterable[Sample], every_s: float) -> Iterator[tuple[Sample, float]]:
    subsampler = RateSubsampler(every_s)
    last_s = -math.inf
    for frame in frames:
        if subsampler.due(frame.clock_s):
            yield frame, frame.clock_s - last_s
            last_s = frame.clock_s
