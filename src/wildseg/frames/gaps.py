"""Where frames are missing within a video, by the times of its packets.

A pause between two frames is no loss by itself: phones and screen recorders store frames when there is something new,
and a camera under load skips one now and then. A gap is one where the file contradicts itself: its container
is broken at that place, or it says how long each frame lasts, and one does not last until the next.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# Containers that account for each frame in other ways, so that a pause is what the encoder skipped: MP4 has an
# index of all frames, AVI numbers its chunks with the empty ones among them, and transport packets have counters.
# Program streams give times now and then, and those between are FFmpeg's guess.
INDEXED_CONTAINERS = frozenset({"avi", "mov,mp4,m4a,3gp,3g2,mj2", "mpeg", "mpegts"})

NEW_RECORDING_S = 10.0  # times that jump further are another, joined recording; FFmpeg's dts_delta_threshold
LEAST_STEPS = 12  # fewer say little about a pace
STEADY = 0.85  # the least share of equal steps at which a video has a steady pace
# The most places with gaps, or share of steps, at which a steady pace is taken for the recorded one. A camera
# under load skips single frames here and there: where no more than one is missing, one place alone tells of a loss.
FEW, FEW_SINGLE, FEW_SHARE = 3, 1, 0.01
PAUSE_S = 1.0  # whoever stops recording for a while does so for longer than this
NEAR = 8  # packets: where B-frames are stored out of order, one loss may make several gaps as near as that


class Gap(NamedTuple):
    """A stretch from the start of one frame to that of the next, both in seconds, with room for `frames` between."""

    from_s: float
    to_s: float
    frames: int


class Timeline:
    """When the packets of a video are shown, how long each lasts, and where its container is broken."""

    def __init__(self) -> None:
        """Start empty."""
        self._times = array("d")
        self._durations = array("f")
        self._starts = [0]  # of recordings that were joined, each with a clock of its own
        self._last_dts_s: float | None = None
        self.broken: list[int] = []  # numbers of the packets before which, or at which, the container is broken
        self.broken_at_start = False  # while FFmpeg looked ahead, so that the place is not known

    def add(self, pts_s: float | None, dts_s: float | None, duration_s: float) -> None:
        """Add the next packet in stored order; 0 for a duration that the file does not say."""
        time_s = dts_s if pts_s is None else pts_s
        if time_s is None:
            return
        if self._last_dts_s is not None and dts_s is not None and not 0 <= dts_s - self._last_dts_s <= NEW_RECORDING_S:
            self._starts.append(len(self._times))
        self._last_dts_s = dts_s
        self._times.append(time_s)
        self._durations.append(duration_s)

    def __len__(self) -> int:
        """Return the number of packets."""
        return len(self._times)

    @property
    def damaged(self) -> bool:
        """Whether the container is known to be broken anywhere."""
        return self.broken_at_start or bool(self.broken)

    def steps_s(self) -> tuple[float, float] | None:
        """Return the usual and the longest time from one frame to the next, in seconds; None for a single frame."""
        steps = [np.diff(np.sort(times)) for times, _, _ in self._recordings()]
        forward = np.concatenate(steps)
        forward = forward[forward > 0]
        return (float(np.median(forward)), float(forward.max())) if len(forward) else None

    def gaps(self, tick_s: float, *, indexed: bool) -> list[Gap]:
        """Return the gaps, those of each recording in order of time.

        Args:
            tick_s: what times are rounded to, seconds.
            indexed: pauses mean nothing in this container, unless it is broken at that place.
        """
        return [
            gap
            for times, durations, start in self._recordings()
            for gap in self._gaps(times, durations, start, tick_s, indexed=indexed)
        ]

    def _recordings(self) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Yield the times and durations of each recording in stored order, and the number of its first packet."""
        times, durations = np.array(self._times), np.array(self._durations, np.float64)
        for start, end in pairwise([*self._starts, len(times)]):
            yield times[start:end], durations[start:end], start

    def _gaps(
        self, times: np.ndarray, durations: np.ndarray, start: int, tick_s: float, *, indexed: bool
    ) -> Iterator[Gap]:
        order = np.argsort(times, kind="stable")
        shown = times[order]
        steps = np.diff(shown)
        if len(steps) < 2 or not (steps > 0).any():
            return
        step = float(np.median(steps[steps > 0]))
        lasts = np.maximum(durations[order][:-1], step)
        is_hole = steps > lasts + max(step / 2, 1.5 * tick_s)
        if indexed or not _steady(steps, step, is_hole, tick_s):
            is_hole &= self._near_broken(order, start)
        for at in np.flatnonzero(is_hole):
            yield Gap(float(shown[at]), float(shown[at + 1]), max(1, round(steps[at] / step) - 1))

    def _near_broken(self, order: np.ndarray, start: int) -> np.ndarray:
        """Return for each step in order of time whether the container is broken there: (n - 1,) bool."""
        near = np.full(len(order) - 1, self.broken_at_start)
        places = np.empty(len(order), int)  # of a packet by its number: which it is in order of time
        places[order] = np.arange(len(order))
        for number in self.broken:
            around = places[max(0, number - start - NEAR) : max(0, number - start + NEAR)]
            if len(around):
                near[around.min() : around.max()] = True
        return near


def _steady(steps: np.ndarray, step: float, is_hole: np.ndarray, tick_s: float) -> bool:
    """Say whether the pace is steady but for a few short holes of whole steps, which are losses then."""
    slack = 1.5 * tick_s + 0.02 * step
    equal = np.abs(steps - step) <= slack
    count = np.maximum(1, np.round(steps / step))
    whole = np.abs(steps - count * step) <= slack * count
    places = 1 + int((np.diff(np.flatnonzero(is_hole)) > NEAR).sum())
    few = FEW if (count[is_hole] > 2).any() else FEW_SINGLE
    return bool(
        len(steps) >= LEAST_STEPS
        and equal.mean() >= STEADY
        and (equal | is_hole).all()
        and whole[is_hole].all()
        and (steps[is_hole] < PAUSE_S).all()
        and places <= max(few, FEW_SHARE * len(steps))
    )
