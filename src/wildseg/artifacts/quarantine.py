"""The quarantine of each stage: a table of unreadable items with reasons, those of earlier stages included."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from wildseg.artifacts.folder import Project
from wildseg.artifacts.weak import MADE_BY, WEAK
from wildseg.core.names import check_names, made_by
from wildseg.core.tables import load_table, save_table

FOLDERS = {
    "extract": "frames",
    "label": "labels",
    "cam": "cams",
    "crf": "masks",
    "scribbles": "scribbles",
    "points": "points",
}
COLUMNS = ("item", "reason")


class Quarantine(Project):
    """data/<folder of a stage>/quarantine.csv."""

    def quarantine_csv(self, stage: str) -> Path:
        """Return the path of a stage's quarantine table."""
        return self.data / FOLDERS[stage] / "quarantine.csv"

    def save_quarantine(self, stage: str, rows: Iterable[tuple[str, str]]) -> None:
        """Write the table of a stage: files and frames in extract, names of key frames after it, and the reasons."""
        save_table(self.quarantine_csv(stage), COLUMNS, rows)

    def load_quarantine(self, stage: str) -> list[tuple[str, str]]:
        """Read (key frame, reason) of the key frames quarantined by a stage after extract, or by an earlier one.

        Raises:
            DataError: the table is malformed, or a name is no file name.
        """
        path = self.quarantine_csv(stage)
        if not os.path.lexists(path):
            return []
        with made_by(MADE_BY if stage in WEAK else stage):
            rows = load_table(path, COLUMNS)
            check_names(path, rows, "item")
        return [(row["item"], row["reason"]) for row in rows]
