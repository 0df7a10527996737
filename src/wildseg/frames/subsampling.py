"""A steady pace over frames that come at any time: at most one in each interval, also at a variable frame rate."""

from __future__ import annotations

import math

# Matroska and FLV keep whole milliseconds: the frame due at 0.0333 s is stored at 0.033 and must still count as due.
TOLERANCE_S = 0.001


class RateSubsampler:
    """Says which frames are due when one is wanted every `interval_s` seconds, counted from the first one.

    The grid of wanted times is fixed, so that the rate does not drift; where a camera skipped some, they are lost.
    """

    def __init__(self, interval_s: float) -> None:
        """Start with no frame seen."""
        self._interval_s = interval_s
        self._start_s: float | None = None
        self._last_tick = -1

    def due(self, clock_s: float) -> bool:
        """Say whether the frame at `clock_s`, later than all before, is the first of its interval."""
        if self._start_s is None:
            self._start_s = clock_s
        tick = math.floor((clock_s - self._start_s + TOLERANCE_S) / self._interval_s)
        if tick <= self._last_tick:
            return False
        self._last_tick = tick
        return True
