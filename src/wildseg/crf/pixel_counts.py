"""Pixel counts of all pseudo masks, by class, and the coverage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wildseg.core.classes import IGNORE


def count_ids(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return (id, pixels) of each id in a mask (H, W) uint8."""
    counts = np.bincount(mask.ravel())
    ids = np.flatnonzero(counts)
    return list(zip(ids.tolist(), counts[ids].tolist(), strict=True))


class PixelCounts:
    """Sums over frames."""

    def __init__(self) -> None:
        """Start with no frame."""
        self.pixels = np.zeros(256, np.int64)  # by id
        self.frames = 0
        self.empty = 0
        self.used = 0
        self.cut = 0

    def add(self, counts: Iterable[tuple[int, int]], num_present: int, used: int = 0, cut: int = 0) -> None:
        """Add a frame: its `count_ids`, the number of its present classes, and those of neighbours used and cut off."""
        for value, number in counts:
            self.pixels[value] += number
        self.frames += 1
        self.empty += num_present == 0
        self.used += used
        self.cut += cut

    def summary(self, names: Sequence[str]) -> dict[str, object]:
        """Return metrics/crf.json: `coverage` is the share of pixels that are not 255, `share` that of each class.

        Args:
            names: names by id.
        """
        shares = self.pixels / self.pixels.sum()
        return {
            "frames": self.frames,
            "frames_without_class": self.empty,
            "coverage": 1 - shares[IGNORE],
            "share": dict(zip(names, shares, strict=False)),
        }
