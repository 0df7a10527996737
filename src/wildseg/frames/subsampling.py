"""Temporal subsampling: at most one frame per interval, also at a variable frame rate."""

from __future__ import annotations

import math

# Matroska and FLV keep whole milliseconds: the frame due at 0.0333 s is stored at 0.033 and must still count as due.
TOLERANCE_S = 0.001


class RateSubsampler:
    """Selects one frame every `interval_s` seconds, counted from the first one.

    The grid of wanted times is fixed, so that the rate does not drift; where a camera skipped some, they are lost.
    """

    def __init__(self, interval_s: float) -> None:
        """Start before the first frame."""
        self._interval_s = interval_s
        self._start_s: float | None = None
        self._last_tick = self._earlier = -1

    def due(self, clock_s: float) -> bool:
        """Return whether the frame at `clock_s`, later than all before, is the first of its interval."""
        if self._start_s is None:
            self._start_s = clock_s
        tick = math.floor((clock_s - self._start_s + TOLERANCE_S) / self._interval_s)
        if tick <= self._last_tick:
            return False
        self._last_tick, self._earlier = tick, self._last_tick
        return True

    def withdraw(self) -> None:
        """Take back the last frame that was due, since it cannot be used: the next one of its interval is due."""
        self._last_tick = self._earlier
