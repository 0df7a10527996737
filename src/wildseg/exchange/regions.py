"""Masks as regions with names, as annotation tools have them, to and from one id a pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from wildseg.core.classes import IGNORE


@dataclass(frozen=True)
class LabelledFrame:
    """A frame to be written: the file name of its image, and its ids, (H, W) uint8, 0 background, 255 ignore."""

    file: str
    ids: np.ndarray


@dataclass(frozen=True)
class Region:
    """The pixels of one name: `mask`, (h, w) bool, lies at the row `top` and the column `left` of its frame."""

    name: str
    mask: np.ndarray
    top: int = 0
    left: int = 0


@dataclass(frozen=True)
class FrameRegions:
    """A frame that was read: its file name, (H, W), and a function that decodes its regions, later ones on top."""

    file: str
    shape: tuple[int, int]
    regions: Callable[[], Iterable[Region]]


@dataclass(frozen=True)
class RegionFile:
    """The frames of a file, in its order; `skipped`: the number of shapes that are no area, by their kind."""

    frames: tuple[FrameRegions, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Painted:
    """ids: (H, W) uint8. overlapping: pixels that regions of different ids claim, of which the last one has them."""

    ids: np.ndarray
    overlapping: int


def split(ids: np.ndarray, names: Mapping[int, str]) -> Iterator[Region]:
    """Yield the region of each id in `names` that occurs, cut to its extent; other ids have none."""
    for id_ in np.flatnonzero(np.bincount(ids.ravel(), minlength=256)).tolist():
        if id_ in names:
            mask = ids == id_
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            top, left = int(rows[0]), int(columns[0])
            yield Region(names[id_], mask[top : rows[-1] + 1, left : columns[-1] + 1], top, left)


def paint(frame: FrameRegions, id_of: Callable[[str], int]) -> Painted:
    """Return one id a pixel: that of the last region that covers it, 255 where none does.

    Args:
        frame: the regions, which lie inside of it.
        id_of: the id of a region's name.
    """
    ids = np.full(frame.shape, IGNORE, np.uint8)
    claimed, disputed = np.zeros(frame.shape, bool), np.zeros(frame.shape, bool)
    for region in frame.regions():
        height, width = region.mask.shape
        place = np.s_[region.top : region.top + height, region.left : region.left + width]
        value = id_of(region.name)
        disputed[place] |= region.mask & claimed[place] & (ids[place] != value)
        ids[place][region.mask] = value
        claimed[place] |= region.mask
    return Painted(ids, int(disputed.sum()))
