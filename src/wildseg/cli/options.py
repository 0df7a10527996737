"""Types of options that several commands have."""

from __future__ import annotations

import math
from typing import Any

import click


class Share(click.FloatRange):
    """A number from 0 to 1; "nan", which fails no comparison with a limit, is refused."""

    def __init__(self, *, min_open: bool = False, most: float = 1) -> None:
        """Exclude 0 with `min_open`, and what lies above `most`."""
        super().__init__(0, most, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Return the number that was typed."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class Numbers(click.ParamType):
    """Numbers with commas between them, each within limits."""

    name = "numbers"

    def __init__(self, low: float, high: float) -> None:
        """Store the limits, both included."""
        self._low, self._high = low, high

    def convert(
        self,
        value: Any,  # noqa: ANN401
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[float, ...]:
        """Return the numbers that were typed."""
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 0.75,1.", param, ctx)
        if not all(self._low <= number <= self._high for number in numbers):
            self.fail(f"{value!r} has a number that is not from {self._low:g} to {self._high:g}.", param, ctx)
        return numbers
