"""A comparison of methods: a row for each, as a table for a terminal and for plots, and as metrics nested by method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wildseg.core.files import save_json
from wildseg.core.tables import save_plotted_table
from wildseg.core.text import aligned

NAN = math.nan
METRICS = ("miou", "seconds", "forwards", "memory_mib")
MEASURES = ("miou", "recall", "seconds", "forwards", "memory_mib", "forward_mib")
COLUMNS = ("name", "method", "refine", "frames", *MEASURES, "note")
SHORT = {"miou": "mIoU", "seconds": "s per frame", "forwards": "in forward passes", "memory_mib": "MiB"}


@dataclass(frozen=True)
class Row:
    """One method with one refinement on a number of frames; NaN where it could not be measured, and `note` says why.

    miou, recall: of the maps, as eval measures them. seconds: per frame, median. forwards: the same in plain
    forward passes. memory_mib: the peak above that of the loaded model; forward_mib: that of a plain pass.
    """

    method: str
    refine: str
    frames: int
    miou: float = NAN
    recall: float = NAN
    seconds: float = NAN
    forwards: float = NAN
    memory_mib: float = NAN
    forward_mib: float = NAN
    note: str = ""

    @property
    def name(self) -> str:
        """Return ``gradcam``, or ``gradcam + caa``."""
        return self.method if self.refine == "none" else f"{self.method} + {self.refine}"


def save(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``table.csv`` and ``methods.json`` into `folder`, in the order of `rows`."""
    save_plotted_table(folder / "table.csv", COLUMNS, [[_cell(row, column) for column in COLUMNS] for row in rows])
    nested: dict[str, dict[str, Any]] = {}
    for row in rows:
        nested.setdefault(row.method, {})[row.refine] = {
            measure: _rounded(getattr(row, measure)) for measure in METRICS
        }
    save_json(folder / "methods.json", nested)


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the table for a terminal, best mIoU first; below it the reasons of what could not be measured."""
    measured = sorted((row for row in rows if not row.note), key=lambda row: -row.miou)
    cells = [("", *SHORT.values())]
    cells += [(row.name, *(_cell(row, measure) for measure in SHORT)) for row in measured]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            reasons.setdefault(row.note, []).append(row.name)
    return aligned(cells) + [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _cell(row: Row, column: str) -> str:
    value = getattr(row, column)
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{_rounded(value):g}"


def _rounded(value: float) -> float:
    """Round to four digits: neither a time nor an mIoU is known better."""
    return float(f"{value:.4g}")
