"""Labels of tiles: the classes in each cell of a grid that is laid over a frame, whose union are the frame's labels.

Tile (i, j) of r x c holds the rows ``[H i / r, H (i + 1) / r)`` of a frame, columns alike. In files, rows and columns
count from 1, the first being at the top left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wildseg.artifacts.folder import Project
from wildseg.artifacts.label_tables import read_rows
from wildseg.core.errors import DataError
from wildseg.core.names import check_names, made_by
from wildseg.core.spreadsheet import load_sheet
from wildseg.core.tables import load_table, save_table

PLACE = ("row", "column")
SIZE = ("rows", "columns")
COLUMNS = ("frame", *PLACE, *SIZE)  # followed by one for each class

Grid = tuple[int, int]  # rows and columns of tiles
Line = tuple[str, Mapping[str, str], np.ndarray]  # a frame, cells by column in lower case, and present (K,) bool


@dataclass(frozen=True)
class Ticks:
    """What a person ticked in a frame: labels (r, c, K) bool of its tiles, and which of them, (r, c) bool, count."""

    labels: np.ndarray
    ticked: np.ndarray


class TileLabels(Project):
    """data/labels/tiles.csv, by the label stage; without any line where frames are labelled as a whole."""

    @property
    def tiles_csv(self) -> Path:
        """The present classes of each tile."""
        return self.data / "labels" / "tiles.csv"

    @property
    def ticks_csv(self) -> Path:
        """The user's labels of tiles, which win over any method and which no stage ever writes."""
        return self.data / "labels" / "ticks.csv"

    def save_tiles(self, frames: Sequence[str], class_names: Sequence[str], tiles: np.ndarray | None) -> None:
        """Write data/labels/tiles.csv.

        Args:
            frames: n names.
            class_names: K names.
            tiles: (n, r, c, K) bool; None writes the names of the columns alone.
        """
        rows: list[tuple[object, ...]] = []
        if tiles is not None:
            size = tiles.shape[1:3]
            for frame, own in zip(frames, tiles, strict=True):
                rows += [(frame, i + 1, j + 1, *size, *own[i, j].astype(int)) for i, j in np.ndindex(*size)]
        save_table(self.tiles_csv, (*COLUMNS, *class_names), rows)

    def load_tiles(self, class_names: Sequence[str], labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Read labels of tiles by frame, (r, c, K) bool each; empty where frames are labelled as a whole.

        Args:
            class_names: K names.
            labels: by frame (K,) bool, those of labels.csv.

        Raises:
            DataError: the file is missing or malformed, lacks a frame or a tile, or contradicts `labels`.
        """
        with made_by("label"):
            rows = load_table(self.tiles_csv, (*COLUMNS, *class_names))
            check_names(self.tiles_csv, rows, "frame")
            tiles, found = _by_frame(self.tiles_csv, (self._line(row, class_names) for row in rows))
            _check_complete(self.tiles_csv, found)
            self._check_union(tiles, labels, class_names)
            return tiles

    def load_given_tiles(self, class_names: Sequence[str], path: Path, grid: Grid) -> dict[str, np.ndarray]:
        """Read the user's labels of tiles by frame, (r, c, K) bool each.

        The table is one of labels, as a spreadsheet saves it, with the columns Row and Column beside the others, and
        Rows and Columns if it has them.

        Raises:
            DataError: the file is missing or malformed, is of another grid, or lacks a tile.
        """
        tiles, found = _by_frame(path, self._given_lines(class_names, path, grid), grid)
        _check_complete(path, found)
        return tiles

    def save_ticks(self, class_names: Sequence[str], ticks: Mapping[str, Ticks]) -> None:
        """Write data/labels/ticks.csv: a line for each tile that was ticked."""
        names, rows = np.array(class_names), []
        for frame, own in ticks.items():
            for i, j in np.argwhere(own.ticked):
                rows.append((frame, i + 1, j + 1, *own.ticked.shape, ",".join(names[own.labels[i, j]])))
        save_table(self.ticks_csv, ("Frame", "Row", "Column", "Rows", "Columns", "Labels"), rows)

    def load_ticks(self, class_names: Sequence[str], grid: Grid) -> dict[str, Ticks]:
        """Read data/labels/ticks.csv by frame; empty where it has no line, or there is no such file.

        Raises:
            DataError: it is malformed, or of another grid.
        """
        if not os.path.lexists(self.ticks_csv):
            return {}
        labels, ticked = _by_frame(self.ticks_csv, self._given_lines(class_names, self.ticks_csv, grid), grid)
        return {frame: Ticks(labels[frame], ticked[frame]) for frame in labels}

    def _given_lines(self, class_names: Sequence[str], path: Path, grid: Grid) -> list[Line]:
        sheet = load_sheet(path, "Frame", "Labels")
        named = {" ".join(column.split()).casefold(): column for column in sheet.columns}
        if missing := [name for name in PLACE if name not in named]:
            raise DataError(
                f"{path}: expected the columns Row and Column, because label.grid is {grid[0]} x {grid[1]}; "
                f"{missing[0].capitalize()!r} is missing"
            )
        places = [
            {name: cells.get(named[name], "") for name in (*PLACE, *SIZE) if name in named} for _, cells in sheet.rows
        ]
        rows = list(read_rows(path, sheet, class_names))
        check_names(path, ({"Frame": frame} for frame, _ in rows), "Frame")
        return [(frame, place, own) for (frame, own), place in zip(rows, places, strict=True)]

    def _line(self, row: Mapping[str, str], class_names: Sequence[str]) -> Line:
        for name in class_names:
            if row[name] not in ("0", "1"):
                raise DataError(
                    f"{self.tiles_csv}, frame {row['frame']!r}: expected 0 or 1 for {name}, found {row[name]!r}"
                )
        return row["frame"], row, np.array([row[name] == "1" for name in class_names], bool)

    def _check_union(
        self, tiles: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], class_names: Sequence[str]
    ) -> None:
        if not tiles:
            return
        if alone := [*(tiles.keys() - labels.keys()), *(labels.keys() - tiles.keys())]:
            raise DataError(f"{self.tiles_csv}: expected the frames of labels.csv, {min(alone)!r} is in one file alone")
        for frame, own in tiles.items():
            union = own.any((0, 1))
            if (union != labels[frame]).any():
                said, found = (
                    ", ".join(np.array(class_names)[present]) or "no class" for present in (labels[frame], union)
                )
                raise DataError(
                    f"{self.tiles_csv}, frame {frame!r}: expected in all tiles together the classes of labels.csv, "
                    f"{said}; found {found}"
                )


def _by_frame(
    path: Path, lines: Iterable[Line], grid: Grid | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the labels of tiles by frame, (r, c, K) bool, and which have a line, (r, c) bool; lines in any order.

    Args:
        path: of the table, for error lines.
        lines: one for each tile.
        grid: of all frames, as label.grid has it; None takes that of the first line.

    Raises:
        DataError: a number is none or outside of the grid, a line is of another grid, or a tile is there twice.
    """
    wanted = " as label.grid has them," if grid else ""
    tiles: dict[str, np.ndarray] = {}
    found: dict[str, np.ndarray] = {}
    for frame, cells, present in lines:
        size = {name: _number(path, frame, cells, name) for name in SIZE if name in cells}
        grid = grid or (size["rows"], size["columns"])
        if size.items() - dict(zip(SIZE, grid, strict=True)).items():
            found_size = " and ".join(f"{number} {name}" for name, number in size.items())
            raise DataError(
                f"{path}, frame {frame!r}: expected {grid[0]} x {grid[1]} tiles,{wanted} found {found_size}"
            )
        row, column = (_number(path, frame, cells, name) for name in PLACE)
        if row > grid[0] or column > grid[1]:
            raise DataError(
                f"{path}, frame {frame!r}: expected a row from 1 to {grid[0]} and a column from 1 to {grid[1]}, found "
                f"row {row} and column {column}"
            )
        if frame not in tiles:
            tiles[frame], found[frame] = np.zeros((*grid, len(present)), bool), np.zeros(grid, bool)
        if found[frame][row - 1, column - 1]:
            raise DataError(f"{path}: the tile in row {row} and column {column} of {frame!r} occurs twice")
        tiles[frame][row - 1, column - 1] = present
        found[frame][row - 1, column - 1] = True
    return tiles, found


def _check_complete(path: Path, found: Mapping[str, np.ndarray]) -> None:
    for frame, complete in found.items():
        if not complete.all():
            row, column = np.argwhere(~complete)[0] + 1
            raise DataError(
                f"{path}, frame {frame!r}: expected a line for each of {complete.size} tiles, found none for row {row} "
                f"and column {column}; a line without a class says that none is there"
            )


def _number(path: Path, frame: str, cells: Mapping[str, str], name: str) -> int:
    text = cells[name].strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 6 or int(text) < 1:
        raise DataError(f"{path}, frame {frame!r}: expected a whole number from 1 in the column {name}, found {text!r}")
    return int(text)
