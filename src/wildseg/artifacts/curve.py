"""The curves of a training: one row per reported step and one column per curve, or one row per point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wildseg.core.errors import DataError
from wildseg.core.tables import load_table, save_table

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


def load_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Read the curves of a table that `save_curve` wrote: points (step, value) by the name of their column.

    Raises:
        DataError: the file is missing or malformed, or a cell is no number.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in load_table(path, ("step",)):
        for name, cell in row.items():
            if cell and name != "step":
                try:
                    curves.setdefault(name, []).append((float(row["step"]), float(cell)))
                except ValueError as error:
                    raise DataError(f"{path}: expected numbers ({error}); run 'dvc repro train'") from error
    return curves


def _decimal(curve: str, value: float) -> str:
    return f"{value:.{DIGITS.get(curve, 6)}f}"
