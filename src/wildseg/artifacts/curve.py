"""The curves of a training: one row per reported step and one column per curve, or one row per point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wildseg.core.tables import save_table

DIGITS = {"lr": 8}  # decimals; 6 for all others


def save_curve(path: Path, always: Sequence[str], points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """Write a table of curves.

    Args:
        path: of the CSV file.
        always: the leading columns, present in every table.
        points: (step, values by curve); an empty cell was not measured.
    """
    names = [*always, *sorted({name for _, values in points for name in values} - set(always))]
    rows = [
        (step, *(_decimal(name, values[name]) if name in values else "" for name in names)) for step, values in points
    ]
    save_table(path, ("step", *names), rows)


def save_points(path: Path, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
    """Write a table of points, (step, curve, value) each: its columns are the same whatever curves there are.

    Args:
        path: of the CSV file.
        points: (step, values by curve).
    """
    rows = [(step, name, _decimal(name, value)) for step, values in points for name, value in values.items()]
    save_table(path, ("step", "curve", "value"), rows)


def _decimal(curve: str, value: float) -> str:
    return f"{value:.{DIGITS.get(curve, 6)}f}"
