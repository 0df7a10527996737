"""The counts of frames that have a truth, by level and class: what differences between runs are measured by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from wildseg.artifacts.folder import Project
from wildseg.core.errors import DataError
from wildseg.core.names import made_by
from wildseg.core.tables import load_table, save_table
from wildseg.metrics.frame_counts import HELD_OUT, LABELS, LEVELS, SEEN, FrameCounts

COLUMNS = ("frame", "group", "stretch", "tested", "level", "class", "tp", "fp", "fn", "open")
COUNTS = COLUMNS[-4:]


class FrameCountsFile(Project):
    """metrics/eval/counts.csv."""

    @property
    def counts_csv(self) -> Path:
        """The table, a row for each frame, level and class of which something was counted."""
        return self.metrics / "eval" / "counts.csv"

    def save_counts(self, class_names: Sequence[str], frames: Iterable[FrameCounts]) -> None:
        """Write the counts of frames; `class_names` are those of the ids 1, 2, ..."""
        save_table(self.counts_csv, COLUMNS, _rows(frames, class_names))

    def load_counts(self, class_names: Sequence[str]) -> list[FrameCounts]:
        """Read the counts of frames, in their order.

        Raises:
            DataError: the table is missing or malformed, or holds another class.
        """
        with made_by("eval"):
            rows = load_table(self.counts_csv, COLUMNS)
        places = {"background": 0} | {name: index + 1 for index, name in enumerate(class_names)}
        found: dict[str, FrameCounts] = {}
        for row in rows:
            try:
                counts = [int(row[name]) for name in COUNTS]
                known = row["group"] in (SEEN, HELD_OUT) and row["tested"] in ("0", "1") and min(counts) >= 0
                level, place = LEVELS.index(row["level"]), places[row["class"]]
            except (ValueError, KeyError) as error:
                raise DataError(f"{self.counts_csv}: expected counts of the classes {', '.join(class_names)} "
                                f"({error}); run 'dvc repro eval'") from error  # fmt: skip
            if not known or max(counts) >= 2**53 or (LEVELS[level] == LABELS and not place):
                raise DataError(f"{self.counts_csv}: expected groups, 0 or 1, and counts; found {row}; "
                                "run 'dvc repro eval'")  # fmt: skip
            one = found.setdefault(row["frame"], _empty(row, len(class_names)))
            one.levels[LEVELS[level]][:, place - (LEVELS[level] == LABELS)] = counts
        return list(found.values())


def _empty(row: dict[str, str], number: int) -> FrameCounts:
    levels = {level: np.zeros((len(COUNTS), number + (level != LABELS)), np.int64) for level in LEVELS}
    return FrameCounts(row["frame"], row["group"], row["stretch"], row["tested"] == "1", levels)


def _rows(frames: Iterable[FrameCounts], class_names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    for frame in frames:
        for level, counts in frame.levels.items():
            names = class_names if level == LABELS else ["background", *class_names]
            for name, one in zip(names, counts.T.tolist(), strict=True):
                if any(one):
                    yield frame.frame, frame.group, frame.stretch, int(frame.tested), level, name, *one
