"""The first steps of all weak labels: maps stretched to [0, 1], and connected components of a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

EIGHT_NEIGHBOURS = np.ones((3, 3), int)


@dataclass(frozen=True)
class Region:
    """A connected component: `rows` and `columns` of its bounding box, and its pixels (h, w) bool within it."""

    rows: slice
    columns: slice
    pixels: np.ndarray

    def within(self, image: np.ndarray) -> np.ndarray:
        """Return the part (h, w) of an image (H, W) that lies in the bounding box."""
        return image[self.rows, self.columns]


def stretch(maps: np.ndarray) -> np.ndarray:
    """Stretch each of (K, H, W) from its smallest and largest value to [0, 1]; one that is constant becomes 0."""
    low = maps.min((1, 2), keepdims=True)
    span = maps.max((1, 2), keepdims=True) - low
    return np.divide(maps - low, span, out=np.zeros_like(maps), where=span > 0)


def regions(mask: np.ndarray, min_area: float = 0.0, min_share: float = 0.0) -> list[Region]:
    """Return the 8-connected components of a mask (H, W) bool, in reading order.

    Args:
        mask: (H, W) bool.
        min_area: minimum area as a share of the frame, in [0, 1].
        min_share: minimum area as a share of the largest component, in [0, 1].
    """
    labelled, number = ndimage.label(mask, EIGHT_NEIGHBOURS)
    sizes = np.bincount(labelled.ravel(), minlength=number + 1)[1:]
    smallest = max(min_area * mask.size, min_share * sizes.max(initial=0))
    return [
        Region(rows, columns, labelled[rows, columns] == index + 1)
        for index, (rows, columns) in enumerate(ndimage.find_objects(labelled))
        if sizes[index] >= smallest
    ]
