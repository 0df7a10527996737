"""What is ticked: key frames, what a method found in their tiles, and the ticks of a person, saved after each."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.tiles import Ticks
from wildseg.core.colours import hex_colour
from wildseg.core.errors import DataError

Grid = tuple[int, int]


class Session:
    """The ticks of a project while its page is open; `frames` are those that the page shows."""

    def __init__(
        self, artifacts: Artifacts, class_names: Sequence[str], palette: np.ndarray, grid: Grid, frames: Sequence[str]
    ) -> None:
        """Read the ticks so far, and the labels of tiles as proposals, where `label` has written them for this grid.

        Args:
            artifacts: of the project.
            class_names: of the ids 1, 2, ...
            palette: (256, 3) uint8 RGB by id.
            grid: rows and columns of tiles.
            frames: those that the page shows.

        Raises:
            DataError: a table is malformed, or ticks are of another grid.
        """
        self.frames = tuple(frames)
        self._artifacts, self._names, self._grid = artifacts, tuple(class_names), grid
        self._colours = [hex_colour(rgb) for rgb in palette[1 : len(self._names) + 1]]
        self._ticks = artifacts.load_ticks(class_names, grid)
        self._proposals = _proposals(artifacts, class_names, grid)
        self._lock = threading.Lock()  # a browser may send several requests at a time

    def state(self) -> dict[str, Any]:
        """Return what the page shows: names and colours of classes, rows and columns, and the tiles of each frame."""
        return {
            "classes": list(self._names),
            "colours": self._colours,
            "grid": list(self._grid),
            "frames": [self._frame(frame) for frame in self.frames],
        }

    def _frame(self, frame: str) -> dict[str, Any]:
        empty = Ticks(np.zeros((*self._grid, len(self._names)), bool), np.zeros(self._grid, bool))
        ticks = self._ticks.get(frame, empty)
        labels = np.where(ticks.ticked[..., None], ticks.labels, self._proposals.get(frame, empty.labels))
        tiles = [[np.flatnonzero(tile).tolist() for tile in row] for row in labels]
        return {"name": frame, "tiles": tiles, "ticked": ticks.ticked.tolist()}

    def image(self, frame: str) -> bytes:
        """Return the JPEG of a frame.

        Raises:
            DataError: it is none of those that are shown, or cannot be read.
        """
        if frame not in self.frames:
            raise DataError(f"expected a frame of this page, found {frame!r}")
        return self._artifacts.frame_bytes(frame)

    def tick(self, sent: object) -> None:
        """Save what a person ticked in one frame.

        Args:
            sent: ``{"frame": name, "tiles": r x c lists of indices of classes, or null where nothing is ticked}``.

        Raises:
            DataError: it is anything else.
        """
        frame, ticks = self._read(sent)
        with self._lock:
            after = {**self._ticks, frame: ticks}
            if not ticks.ticked.any():
                del after[frame]
            self._artifacts.save_ticks(self._names, after)
            self._ticks = after

    def _read(self, sent: object) -> tuple[str, Ticks]:
        frame, tiles = (sent.get("frame"), sent.get("tiles")) if isinstance(sent, dict) else (None, None)
        if not isinstance(frame, str) or frame not in self.frames:
            raise DataError(f"expected a frame of this page, found {frame!r}")
        rows, columns = self._grid
        if not isinstance(tiles, list) or len(tiles) != rows or not all(_is_list(row, columns) for row in tiles):
            raise DataError(f"{frame}: expected lists of {rows} x {columns} tiles")
        labels, ticked = np.zeros((rows, columns, len(self._names)), bool), np.zeros(self._grid, bool)
        for i, j in np.ndindex(rows, columns):
            if (classes := tiles[i][j]) is None:
                continue
            if not isinstance(classes, list) or not all(type(k) is int and 0 <= k < len(self._names) for k in classes):
                raise DataError(f"{frame}: expected indices of {len(self._names)} classes in each tile")
            labels[i, j, classes] = ticked[i, j] = True
        return frame, Ticks(labels, ticked)


def _is_list(value: Any, length: int) -> bool:  # noqa: ANN401
    return isinstance(value, list) and len(value) == length


def _proposals(artifacts: Artifacts, class_names: Sequence[str], grid: Grid) -> Mapping[str, np.ndarray]:
    if not artifacts.tiles_csv.is_file():
        return {}
    tiles = artifacts.load_tiles(class_names, artifacts.load_labels(class_names))
    return tiles if all(own.shape[:2] == grid for own in tiles.values()) else {}
