"""Frames of a video or recording between its key frames, decoded again: flow over small motions reaches farther."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing

import numpy as np

from wildseg.frames.read_stats import ReadStats
from wildseg.frames.reader import read
from wildseg.frames.sources import Source


def indices_between(first: int, last: int, number: int) -> list[int]:
    """Return up to `number` whole numbers between two, both left out, as evenly spaced as they can be."""
    count = min(number, max(0, last - first - 1))
    return [first + round(step * (last - first) / (count + 1)) for step in range(1, count + 1)]


def read_between(source: Source, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, (H, W, 3) uint8 RGB) of the wanted frames of a video or recording, in order.

    What is damaged is left out. Reading ends with the last that is wanted.
    """
    if not wanted:
        return
    last = max(wanted)
    with closing(read(source, None, ReadStats())) as samples:
        for sample in samples:
            if sample.index in wanted:
                yield sample.index, sample.pixels.rgb()
            if sample.index >= last:
                return
