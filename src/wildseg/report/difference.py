"""Differences of two runs in words: for a terminal and for the page of `wildseg diff`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wildseg.core.text import aligned
from wildseg.metrics.intervals import FEWEST
from wildseg.metrics.paired import Difference

NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """A measure of both runs. title: what it is. of: the group of frames. paired: whether on the same frames."""

    title: str
    of: str
    difference: Difference
    paired: bool = True

    @property
    def name(self) -> str:
        """What is measured, and of which frames."""
        return f"{self.title}, {self.of}" if self.of else self.title


def sentence(row: Row) -> str:
    """Return a difference as a sentence, the second run seen from the first: ``better by 2.1 points, ...``."""
    found = row.difference
    value, (low, high) = found.value, found.interval
    if not math.isfinite(value):
        return f"{row.name}: not measured in both"
    if (value, low, high) == (0, 0, 0):
        return f"{row.name}: the same"
    if not math.isfinite(low):
        why = f"no interval, since fewer than {FEWEST} stretches have a truth" if row.paired else "no interval"
        return f"{row.name}: {points(value)} points ({why})"
    if not found.is_clear:
        return f"{row.name}: no clear difference, {points(value)} points, 95 % interval {points(low)} to {points(high)}"
    low, high = sorted((abs(low), abs(high)))
    word = "better" if value > 0 else "worse"
    return f"{row.name}: {word} by {100 * abs(value):.1f} points, 95 % interval {100 * low:.1f} to {100 * high:.1f}"


def points(value: float) -> str:
    """Return a difference in percentage points, with its sign."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def number(value: float) -> str:
    """Return a value with three digits."""
    return f"{value:.3f}" if math.isfinite(value) else NOTHING


def bounds(found: Difference) -> str:
    """Return the interval of a difference in points, empty where there is none."""
    low, high = found.interval
    return f"{points(low)} to {points(high)}" if math.isfinite(low) and math.isfinite(found.value) else ""


def verdict(found: Difference) -> str:
    """Return ``better``, ``worse``, ``same``, ``unclear``, or nothing where there is no interval."""
    if (found.value, *found.interval) == (0, 0, 0):
        return "same"
    if not math.isfinite(found.interval.low) or not math.isfinite(found.value):
        return ""
    return ("better" if found.value > 0 else "worse") if found.is_clear else "unclear"


def table(rows: list[Row], first: str, second: str) -> list[str]:
    """Return measures as lines of a terminal; `first` and `second` name the runs."""
    lines = [("", first, second, "points", "95 % interval", "")]
    for row in rows:
        found = row.difference
        change = points(found.value) if math.isfinite(found.value) else NOTHING
        lines.append((row.name, number(found.first), number(found.second), change, bounds(found), verdict(found)))
    return aligned(lines, "<>>>><")
