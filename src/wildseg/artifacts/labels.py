"""Image labels: the classes of each frame, their scores, and the records of language models."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.artifacts.label_tables import read_rows
from wildseg.artifacts.tiles import PLACE, TileLabels
from wildseg.core.errors import DataError, check_regular
from wildseg.core.files import reason_of, save_bytes
from wildseg.core.names import check_lines, check_names, made_by
from wildseg.core.spreadsheet import Sheet, load_sheet
from wildseg.core.tables import load_table, save_table


class Labels(TileLabels):
    """data/labels."""

    @property
    def labels_csv(self) -> Path:
        """The present classes of each frame, by the label stage."""
        return self.data / "labels" / "labels.csv"

    @property
    def scores_csv(self) -> Path:
        """The scores of each frame and class."""
        return self.data / "labels" / "scores.csv"

    @property
    def priors_csv(self) -> Path:
        """How likely each class of a frame's labels is, beside the likeliest."""
        return self.data / "labels" / "priors.csv"

    @property
    def answers_jsonl(self) -> Path:
        """Requests, replies and parsed labels of language models; empty for other methods."""
        return self.data / "labels" / "answers.jsonl"

    @property
    def overrides_csv(self) -> Path:
        """The user's corrections, which no stage ever writes."""
        return self.data / "labels" / "overrides.csv"

    def save_labels(
        self, frames: Sequence[str], class_names: Sequence[str], present: np.ndarray, tiles: np.ndarray | None = None
    ) -> None:
        """Write labels.csv and tiles.csv in data/labels. An empty cell of labels.csv: no class is present.

        Args:
            frames: n names.
            class_names: K names.
            present: (n, K) bool.
            tiles: (n, r, c, K) bool, whose union over tiles is `present`; None where frames are labelled as a whole.
        """
        rows = [
            (frame, ",".join(name for name, is_in in zip(class_names, row, strict=True) if is_in))
            for frame, row in zip(frames, present, strict=True)
        ]
        save_table(self.labels_csv, ("Frame", "Labels"), rows, quote_all=True)
        self.save_tiles(frames, class_names, tiles)

    def load_labels(self, class_names: Sequence[str], path: Path | None = None) -> dict[str, np.ndarray]:
        """Read labels by frame, (K,) bool each, from labels.csv, or from the user's table.

        The latter may be as a spreadsheet saves it, and have a column of ticks per class instead of `Labels`.

        Raises:
            DataError: the file is missing or malformed, names a frame twice, or a class that is not in `class_names`.
        """
        if path is not None:
            return _by_frame(path, load_sheet(path, "Frame", "Labels"), class_names)
        with made_by("label"):
            rows = load_table(self.labels_csv, ("Frame", "Labels"))
            return _by_frame(self.labels_csv, Sheet(("Frame", "Labels"), tuple(enumerate(rows, 2))), class_names)

    def ids_by_frame(
        self, frames: Sequence[str], class_names: Sequence[str], *, background: bool
    ) -> dict[str, list[int]]:
        """Return the ids that each frame can show by labels.csv: of its present classes, and 0 with a background.

        Raises:
            DataError: the file is missing or malformed, or lacks a frame.
        """
        labels = self.load_labels(class_names)
        check_lines(self.labels_csv, labels, frames, "label")
        first = [0] if background else []
        return {frame: first + [int(index) + 1 for index in np.flatnonzero(labels[frame])] for frame in frames}

    def save_scores(self, frames: Sequence[str], class_names: Sequence[str], scores: np.ndarray) -> None:
        """Write data/labels/scores.csv; scores: (n, K) float in [0, 1]."""
        _save_numbers(self.scores_csv, frames, class_names, scores)

    def save_priors(self, frames: Sequence[str], class_names: Sequence[str], priors: np.ndarray) -> None:
        """Write data/labels/priors.csv; priors: (n, K) float in [0, 1], see `wildseg.labels.priors`."""
        _save_numbers(self.priors_csv, frames, class_names, priors)

    def load_scores(self, class_names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read scores by frame: (K,) float64 in [0, 1] each.

        Raises:
            DataError: the file is missing or malformed, or a cell is no number in [0, 1].
        """
        return _load_numbers(self.scores_csv, class_names)

    def load_priors(self, class_names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read priors by frame: (K,) float64 in [0, 1] each.

        Raises:
            DataError: as of `load_scores`.
        """
        return _load_numbers(self.priors_csv, class_names)

    def save_answers(self, frames: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
        """Write data/labels/answers.jsonl: one JSON object a line for each frame that has a record.

        Without any it is one empty line: of a file without bytes DVC warns after every run.
        """
        lines = [
            json.dumps({"frame": frame, **record}, ensure_ascii=False, allow_nan=False) + "\n"
            for frame, record in zip(frames, records, strict=True)
            if record
        ]
        # A model may emit half of a surrogate pair, which UTF-8 cannot encode.
        save_bytes(self.answers_jsonl, ("".join(lines) or "\n").encode("utf-8", "replace"))

    def load_answers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the frame and the record of each line of data/labels/answers.jsonl; none where there is no file.

        Raises:
            DataError: it cannot be read, or a line is no record.
        """
        path = self.answers_jsonl
        if not os.path.lexists(path):
            return
        try:
            check_regular(path)
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if not line.strip():
                        continue
                    record = json.loads(line)
                    if not isinstance(record, dict) or not isinstance(record.get("frame"), str):
                        raise DataError(f"{path}, line {number}: expected the record of a frame; run 'dvc repro label'")
                    yield record["frame"], record
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: expected a JSON object a line ({reason_of(error)})") from error


def _save_numbers(path: Path, frames: Sequence[str], class_names: Sequence[str], numbers: np.ndarray) -> None:
    rows = [(frame, *(f"{number:.6f}" for number in row)) for frame, row in zip(frames, numbers, strict=True)]
    save_table(path, ("frame", *class_names), rows)


def _load_numbers(path: Path, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    with made_by("label"):
        rows = load_table(path, ("frame", *class_names))
        check_names(path, rows, "frame")
        return {row["frame"]: np.array([_number(path, row, name) for name in class_names]) for row in rows}


def _number(path: Path, row: Mapping[str, str], name: str) -> float:
    try:
        number = float(row[name])
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise DataError(
            f"{path}, frame {row['frame']!r}: expected a number from 0 to 1 for {name}, found {row[name]!r}"
        )
    return number


def _by_frame(path: Path, sheet: Sheet, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    rows = list(read_rows(path, sheet, class_names))
    check_names(path, ({"Frame": frame} for frame, _ in rows), "Frame")
    labels: dict[str, np.ndarray] = {}
    for frame, present in rows:
        if frame in labels:
            columns = {column.casefold() for column in sheet.columns}
            tiles = "; it has the columns Row and Column: for labels of tiles set label.grid"
            raise DataError(f"{path}: the frame {frame!r} occurs twice{tiles if columns >= {*PLACE} else ''}")
        labels[frame] = present
    return labels
