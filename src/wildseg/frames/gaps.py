"""Where frames are missing within a video, by the times of its packets.

A pause between two frames is no loss by itself: phones and screen recorders store frames when there is something new,
and a camera under load skips one now and then. A gap is one where the file contradicts itself: its container
is broken at that place, or it says how long each frame lasts, and one does not last until the next.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

import numpy as np

# Containers that account for each frame in other ways, so that a pause is what the encoder skipped: MP4 has an
# index of all frames, AVI numbers its chunks with the empty ones among them, and transport packets have counters.
OWN_ACCOUNT = frozenset({"avi", "mov,mp4,m4a,3gp,3g2,mj2", "mpegts"})

ANOTHER_S = 10.0  # a jump of the counted times that is no loss, but another recording behind the first; as in FFmpeg
LEAST_STEPS = 12  # fewer say little about a pace
STEADY = 0.85  # the least share of equal steps at which a video has a steady pace
FEW = 3, 0.01  # the most places with gaps, or share of steps, at which a steady pace is taken for the recorded one
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
        self.broken: list[int] = []  # numbers of the packets before which, or at which, the container is broken
        self.broken_at_start = False  # while FFmpeg looked ahead, so that the place is not known

    def add(self, time_s: float | None, duration_s: float) -> None:
        """Add the next packet in stored order; 0 for a duration that the file does not say."""
        if time_s is not None:
            self._times.append(time_s)
            self._durations.append(duration_s)

    def __len__(self) -> int:
        """Return the number of packets."""
        return len(self._times)

    @property
    def damaged(self) -> bool:
        """Whether the container is known to be broken anywhere."""
        return self.broken_at_start or bool(self.broken)

    def gaps(self, tick_s: float, *, own_account: bool) -> list[Gap]:
        """Return the gaps in order of time.

        Args:
            tick_s: what times are rounded to, seconds.
            own_account: pauses mean nothing in this container, unless it is broken at that place.
        """
        if len(self) < 3:
            return []
        times, durations = np.array(self._times), np.array(self._durations, np.float64)
        order = np.argsort(times, kind="stable")
        steps = np.diff(times[order])
        if not (steps > 0).any():
            return []
        step = float(np.median(steps[steps > 0]))
        lasts = np.where(durations[order][:-1] > 0, durations[order][:-1], step)
        is_hole = steps > np.maximum(lasts, step) + max(step / 2, 1.5 * tick_s)
        if not self._lossy(steps, step, is_hole, tick_s, own_account):
            is_hole &= self._near_broken(times, order)
            is_hole &= (steps < ANOTHER_S) | (not own_account)
        ends = times[order]
        return [
            Gap(float(ends[at]), float(ends[at + 1]), max(1, round(steps[at] / step) - 1))
            for at in np.flatnonzero(is_hole)
        ]

    def _lossy(self, steps: np.ndarray, step: float, is_hole: np.ndarray, tick_s: float, own_account: bool) -> bool:
        """Say whether any hole is a loss: the pace is steady but for a few holes of whole steps."""
        if own_account or len(steps) < LEAST_STEPS:
            return False
        slack = 1.5 * tick_s + 0.02 * step
        equal = np.abs(steps - step) <= slack
        whole = np.abs(steps - np.round(steps / step) * step) <= slack * np.maximum(1, np.round(steps / step))
        places = 1 + int((np.diff(np.flatnonzero(is_hole)) > NEAR).sum())
        few = places <= max(FEW[0], FEW[1] * len(steps))
        return bool(equal.mean() >= STEADY and whole[is_hole].all() and (equal | is_hole).all() and few)

    def _near_broken(self, times: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Return for each step in order of time whether the container is broken there: (n - 1,) bool."""
        near = np.full(len(times) - 1, self.broken_at_start)
        places = np.empty(len(times), int)  # of a packet by its number: which it is in order of time
        places[order] = np.arange(len(times))
        for number in self.broken:
            around = places[max(0, number - NEAR) : number + NEAR]
            if len(around):
                near[max(0, around.min()) : around.max()] = True
        return near
