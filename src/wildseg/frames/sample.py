"""A frame that was looked at: where it comes from, when it was taken, and its pixels on demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from wildseg.frames.image import grey, mean_difference, resize, size_for_width


class Pixels(Protocol):
    """A decoded picture; what is never asked for is never converted."""

    def rgb(self, width: int | None = None) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB, upright, shrunk to at most `width` pixels across."""
        ...

    def grey(self, width: int | None = None) -> np.ndarray:
        """Return (H, W) uint8 grey of Rec.601, upright, shrunk to at most `width` pixels across."""
        ...

    def difference(self, earlier: Pixels, width: int | None = None) -> float:
        """Return the mean of |earlier - this| over grey pixels, 0 to 255, both shrunk as `grey` does."""
        ...

    def detach(self) -> None:
        """Share no memory with whoever decoded the picture, from now on."""
        ...


class ArrayPixels:
    """Pixels that already lie in memory."""

    def __init__(self, image: np.ndarray) -> None:
        """Keep an image: (H, W, 3) uint8 RGB, upright."""
        self.image = image
        self._greys: dict[int | None, np.ndarray] = {}

    def rgb(self, width: int | None = None) -> np.ndarray:
        """See Pixels."""
        height, full_width = self.image.shape[:2]
        return resize(self.image, *size_for_width(full_width, height, width))

    def grey(self, width: int | None = None) -> np.ndarray:
        """See Pixels."""
        if width not in self._greys:
            self._greys[width] = grey(self.rgb(width))
        return self._greys[width]

    def difference(self, earlier: Pixels, width: int | None = None) -> float:
        """See Pixels."""
        return mean_difference(earlier.grey(width), self.grey(width))

    def detach(self) -> None:
        """See Pixels."""


@dataclass(frozen=True)
class Sample:
    """One frame of a source; `index` counts the source's decoded frames, or its photos in order, from 0.

    `time_s` is the presentation time in seconds, None where a photo has none.
    """

    source: str
    index: int
    time_s: float | None
    pixels: Pixels = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Return ``<source>_<index:06d>``."""
        return f"{self.source}_{self.index:06d}"

    @property
    def clock_s(self) -> float:
        """Return the time in seconds; photos have no clock, and each counts as one second."""
        return float(self.index) if self.time_s is None else self.time_s
