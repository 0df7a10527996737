"""Limits of values, as metadata of annotations such as ``Annotated[float, Between(0, 1)]``."""

from __future__ import annotations

import math
from collections.abc import Sized
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Between:
    """Limits of a number, both included; with `above` the lower one is not."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def allows(self, value: float) -> bool:
        """Return whether `value` is inside; NaN never is."""
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        """Return the limits as text for an error line."""
        if self.high == math.inf:
            return f"{'above' if self.above else 'of at least'} {self.low:g}"
        return f"{'above' if self.above else 'from'} {self.low:g} to {self.high:.10g}"


@dataclass(frozen=True)
class Length:
    """How many entries a list may have, both included."""

    low: int
    high: int

    def allows(self, value: Sized) -> bool:
        """Return whether a list has an allowed length."""
        return self.low <= len(value) <= self.high

    def __str__(self) -> str:
        """Return the limits as text for an error line."""
        return f"of {self.low} entries" if self.low == self.high else f"of {self.low} to {self.high} entries"


# Kinds of number that several parameters share. Each has an upper limit: what lies above it would take hours or all
# memory, or be no number any more once it is squared.
Share = Annotated[float, Between(0, 1)]
Count = Annotated[int, Between(1, 10**9)]  # of things there may be any number of: a larger one is the same as all
Natural = Annotated[int, Between(0, 10**9)]
Side = Annotated[int, Between(1, 100_000)]  # of a picture, in pixels
Seconds = Annotated[float, Between(0.001, 10**9)]  # times are stored in milliseconds; up to 31 years
Channels = Annotated[int, Between(1, 4096)]  # of a layer of a network
Seed = Annotated[int, Between(0, 2**32 - 1)]  # NumPy's range
# A pass each; what attention needs of memory grows with the fourth power of a scale.
Scales = Annotated[tuple[Annotated[float, Between(0.1, 4)], ...], Length(1, 16)]
Options = dict[str, dict[str, Any]]  # of methods, by their names
