"""Flicker: how far two label images of neighbouring frames of a video agree along the optical flow; needs no truth.

A pixel counts where flow is consistent and both images name a class. It is stable where its class is that of the place
to which it moves; the share of those is `wildseg.metrics.consistency.equal_pixels` of the counts. High stability is
necessary for good predictions and not sufficient: a constant answer is stable.
"""

from __future__ import annotations

import numpy as np

from wildseg.core.classes import IGNORE
from wildseg.core.flow import Track, warp_ids
from wildseg.metrics.consistency import pair_counts


def counts_along_flow(ids: np.ndarray, neighbour: np.ndarray, track: Track, num_classes: int) -> np.ndarray:
    """Return the counts of two label images, as `wildseg.metrics.intervals` sums and redraws them.

    Args:
        ids: (H, W) ids in 0..num_classes-1, or 255 where it is open.
        neighbour: (H, W) ids of the other frame.
        track: from the frame to the other.
        num_classes: n, background included.

    Returns:
        (3, n) int64: by class, pixels of both, of the neighbour alone, of `ids` alone.

    Raises:
        DataError: the shapes differ, or an id of `ids` has no class.
    """
    warped = np.where(track.consistent, warp_ids(neighbour, track.flow), IGNORE)
    return pair_counts(ids, warped, num_classes)
