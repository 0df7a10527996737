"""Which frames train, which choose the best checkpoint and which test.

Each part is a contiguous stretch of time, so that neighbours, which look alike, fall on the same side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wildseg.frames.params import Extract


def split_source(clocks_s: Sequence[float], span_s: tuple[float, float], extract: Extract, *, timed: bool) -> list[str]:
    """Return train, val or test for each frame of one source, by the parameters of the section extract.

    Args:
        clocks_s: see `split_by_time`.
        span_s: see `split_by_time`.
        extract: the parameters.
        timed: whether the clocks are seconds; else the whole source is one stretch.
    """
    stretch_s = extract.stretch_s if timed else None
    return split_by_time(clocks_s, span_s, val=extract.val, test=extract.test, stretch_s=stretch_s)


def split_by_time(
    clocks_s: Sequence[float],
    span_s: tuple[float, float],
    *,
    val: float,
    test: float,
    stretch_s: float | None,
) -> list[str]:
    """Return train, val or test for each frame of one source.

    The source is cut into equal stretches of about `stretch_s` seconds; the first ``1 - val - test`` of each is train,
    then comes `val`, then `test`. Only a frame's time decides, never which other frames were kept: another threshold
    for key frames moves no frame from one side to the other.

    Args:
        clocks_s: times of the frames in seconds, within `span_s`.
        span_s: times of the source's first and last frame.
        val: share of each stretch, 0 to 1.
        test: share of each stretch, 0 to 1.
        stretch_s: wanted length of a stretch; None makes the whole source one.
    """
    start_s, end_s = span_s
    length_s = end_s - start_s
    stretches = 1 if stretch_s is None else max(1, round(length_s / stretch_s))
    return [_part(_place(clock_s - start_s, length_s, stretches), val, test) for clock_s in clocks_s]


def _place(time_s: float, length_s: float, stretches: int) -> float:
    """Return where in its stretch a time lies, 0 to 1; only the source's last moment is 1."""
    if length_s <= 0:
        return 0.0
    position = time_s / length_s * stretches
    return position - min(math.floor(position), stretches - 1)


def _part(place: float, val: float, test: float) -> str:
    # The small slack keeps a frame exactly on a border on the later side, whatever 1 - 0.1 - 0.2 rounds to.
    place += 1e-9
    if test > 0 and place >= 1 - test:
        return "test"
    if val > 0 and place >= 1 - test - val:
        return "val"
    return "train"
