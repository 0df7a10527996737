"""Thinning: the skeleton of a mask (Zhang and Suen, Communications of the ACM, 1984)."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from wildseg.crf.weak.regions import EIGHT_NEIGHBOURS

# The neighbours P2 to P9 of the paper, (row, column), clockwise from north. Neighbour k is bit k of a code.
AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Return the skeleton (H, W) bool of a mask (H, W) bool, a subset of it; lines of one pixel are unchanged.

    Zhang and Suen's rules delete squares of 2x2 pixels entirely, and therefore components that shrink to one; of such a
    component the deepest pixel is retained.
    """
    image = np.pad(mask, 1).astype(np.uint8)
    flat = image.reshape(-1)
    offsets = np.array([row * image.shape[1] + column for row, column in AROUND])
    bits = 1 << np.arange(8, dtype=np.uint8)
    changed = True
    while changed:
        changed = False
        for deletable in _DELETABLE:
            # A pixel with eight neighbours is interior, and never deleted: only the others are tested.
            edge = np.flatnonzero(image - cv2.erode(image, np.ones((3, 3), np.uint8)))
            codes = (flat[edge[:, None] + offsets] * bits).sum(1)
            gone = edge[deletable[codes]]
            flat[gone] = 0
            changed |= gone.size > 0
    return _with_lost_regions(mask, image[1:-1, 1:-1].astype(bool))


def _with_lost_regions(mask: np.ndarray, thin: np.ndarray) -> np.ndarray:
    labelled, number = ndimage.label(mask, EIGHT_NEIGHBOURS)
    lost = np.setdiff1d(np.arange(1, number + 1), labelled[thin])
    if lost.size:
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        for row, column in ndimage.maximum_position(depth, labelled, lost):
            thin[row, column] = True
    return thin


def _table(first: bool) -> np.ndarray:
    """Return by neighbour code whether the first or second subiteration deletes a pixel: (256,) bool."""
    table = np.zeros(256, bool)
    for code in range(256):
        p = [code >> k & 1 for k in range(8)]
        north, east, south, west = p[0], p[2], p[4], p[6]
        steps = sum(p[k] < p[(k + 1) % 8] for k in range(8))  # transitions from 0 to 1 around the pixel
        one_side = not (north * east * south or east * south * west)
        other_side = not (north * east * west or north * south * west)
        table[code] = 2 <= sum(p) <= 6 and steps == 1 and (one_side if first else other_side)
    return table


_DELETABLE = (_table(first=True), _table(first=False))
