"""Evidence of neighbouring frames of a video: their maps, warped along the optical flow and averaged with the own ones.

``M = (m + w sum_j c_j m_j') / (1 + w sum_j c_j)`` at each pixel, with the frame's own maps m, those of a neighbour
warped into the frame m_j', and c_j 1 where flow there and back agrees and 0 elsewhere. A class of the frame that a
neighbour does not show has the map 0 there; one that the neighbour alone shows is left out, so that a mask still has
the classes of its frame's labels only. A neighbour beyond a cut, of which most pixels are inconsistent, adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np

from wildseg.core.flow import tracks, warp
from wildseg.core.maps import upsample

if TYPE_CHECKING:
    from wildseg.crf.params import Temporal


class TimedFrame(Protocol):
    """A frame of a source; its time in seconds is None for a photo."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def source(self) -> str:
        """The name of its video or folder."""

    @property
    def time_s(self) -> float | None:
        """Its presentation time."""

    @property
    def split(self) -> str:
        """Neighbours are of the same, so that no mask of a training frame has seen one that is tested on."""


Timed = TypeVar("Timed", bound=TimedFrame)


class Step(NamedTuple):
    """A frame on the way to a neighbour: `is_key` unless it was decoded for the flow alone."""

    name: str
    is_key: bool


Way = tuple[Step, ...]


@dataclass(frozen=True)
class Seen:
    """What a step shows: its image (H, W, 3) uint8; and evidence, its classes (K,) and maps (K, h, w), if any."""

    image: np.ndarray
    evidence: tuple[np.ndarray, np.ndarray] | None


class Averaged(NamedTuple):
    """Maps (K, H, W) float32 in [0, 1]; how many neighbours were averaged in, and how many lie beyond a cut."""

    maps: np.ndarray
    used: int
    cut: int


def neighbouring(frames: Sequence[Timed], within_s: float) -> dict[str, list[tuple[Timed, Timed]]]:
    """Return by source the pairs of successive frames of a split that are near in time; no source without any.

    Args:
        frames: key frames of all sources; photos have no times, and so no neighbours.
        within_s: seconds that they are apart at most.
    """
    found: dict[str, list[tuple[Timed, Timed]]] = {}
    for timed in _in_order(frames):
        pairs = [(one, other) for (start, one), (end, other) in pairwise(timed) if end - start <= within_s]
        if pairs:
            found.setdefault(pairs[0][0].source, []).extend(pairs)
    return found


def _in_order(frames: Sequence[Timed]) -> list[list[tuple[float, Timed]]]:
    """Return the frames that have times, with these, in order: those of each source and split by themselves."""
    groups: dict[tuple[str, str], list[tuple[float, Timed]]] = {}
    for frame in frames:
        if frame.time_s is not None:
            groups.setdefault((frame.source, frame.split), []).append((frame.time_s, frame))
    return [sorted(timed, key=itemgetter(0)) for timed in groups.values()]


def ways_to_neighbours(
    frames: Sequence[TimedFrame], temporal: Temporal, between: Mapping[tuple[str, str], Sequence[str]]
) -> dict[str, tuple[Way, ...]]:
    """Return the ways from each frame of a video to its neighbours of its split: back in time and onward, if any.

    Args:
        frames: key frames of all sources; photos have no times, and so no neighbours.
        temporal: how many neighbours, and how far away.
        between: names of frames between two successive key frames, in order, by the names of those.
    """
    found = {}
    for group in _in_order(frames):
        timed = [(time, frame.name) for time, frame in group]
        for place, (_, name) in enumerate(timed):
            ways = [_way(part, temporal, between) for part in (timed[place::-1], timed[place:])]
            if any(ways):
                found[name] = tuple(way for way in ways if way)
    return found


def _way(
    timed: Sequence[tuple[float, str]], temporal: Temporal, between: Mapping[tuple[str, str], Sequence[str]]
) -> Way:
    start = timed[0][0]
    steps: list[Step] = []
    for (_, one), (time, other) in zip(timed, timed[1 : temporal.neighbours + 1], strict=False):
        if abs(time - start) > temporal.within_s:
            break
        inner = between.get((one, other)) or between.get((other, one), ())[::-1]
        steps += [*(Step(name, is_key=False) for name in inner), Step(other, is_key=True)]
    return tuple(steps)


def averaged(
    image: np.ndarray, classes: np.ndarray, maps: np.ndarray, ways: Iterable[Sequence[Seen]], temporal: Temporal
) -> Averaged:
    """Average the maps of a frame with those of its neighbours.

    Args:
        image: (H, W, 3) uint8 RGB.
        classes: (K,) indices from 0 of the classes in the frame; K may be 0.
        maps: (K, h, w) in [0, 1] at grid resolution.
        ways: what the steps to its neighbours show, the nearest first; a way ends where the size of frames changes.
        temporal: the parameters.
    """
    shape = (image.shape[0], image.shape[1])
    total, weight, used, cut = upsample(maps, shape), np.ones(shape, np.float32), 0, 0
    for way in ways:
        steps = list(takewhile(lambda seen: seen.image.shape == image.shape, way))
        for seen, track in zip(steps, tracks([image, *(seen.image for seen in steps)]), strict=True):
            if seen.evidence is None:
                continue
            if track.consistent.mean() < temporal.min_consistent:
                cut += 1
                break  # what follows lies beyond it, too
            counted = np.float32(temporal.weight) * track.consistent
            total += counted * warp(_of_classes(classes, *seen.evidence, shape), track.flow)
            weight += counted
            used += 1
    return Averaged(np.clip(total / weight, 0, 1), used, cut)


def _of_classes(wanted: np.ndarray, classes: np.ndarray, maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the maps of the wanted classes at the size of the frame, 0 for those that are not among `classes`."""
    large, found = upsample(maps, shape), np.zeros((len(wanted), *shape), np.float32)
    places = {int(index): place for place, index in enumerate(classes)}
    for target, index in zip(found, wanted, strict=True):
        if (place := places.get(int(index))) is not None:
            target[:] = large[place]
    return found
