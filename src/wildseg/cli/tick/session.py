"""What is ticked: key frames, what a method found in their tiles, and the ticks of a person, saved after each.

The table may be written by others while a page is open, by a second page or in a spreadsheet. So it is read again under
a lock before each tick, and the frame that was sent alone is replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.tiles import Ticks
from wildseg.core.colours import hex_colour
from wildseg.core.errors import DataError
from wildseg.labels.tiles import WHOLE

Grid = tuple[int, int]


class Session:
    """The ticks of a project while its page is open.

    frames: those that the page shows. remark: why no labels are proposed although `label` has run; else empty.
    """

    def __init__(
        self, artifacts: Artifacts, class_names: Sequence[str], palette: np.ndarray, grid: Grid, frames: Sequence[str]
    ) -> None:
        """Read the labels of tiles, or of whole frames, as proposals, where `label` has written them for this grid.

        Args:
            artifacts: of the project.
            class_names: of the ids 1, 2, ...
            palette: (256, 3) uint8 RGB by id.
            grid: rows and columns of tiles.
            frames: those that the page shows.

        Raises:
            DataError: ticks.csv is malformed, or of another grid.
        """
        self.frames = tuple(frames)
        self._artifacts, self._names, self._grid = artifacts, tuple(class_names), grid
        self._colours = [hex_colour(rgb) for rgb in palette[1 : len(self._names) + 1]]
        artifacts.load_ticks(class_names, grid)  # what is wrong with it is said before anything is served
        self.remark = ""
        self._proposals: Mapping[str, np.ndarray] = {}
        try:
            self._proposals = _proposals(artifacts, class_names, grid)
        except DataError as error:  # as after a change of classes, before `label` has run again
            self.remark = f"no labels are proposed: {error}"
        self._lock = threading.Lock()  # a browser may send several requests at a time

    def state(self) -> dict[str, Any]:
        """Return what the page shows: names and colours of classes, rows and columns, and the tiles of each frame.

        Raises:
            DataError: ticks.csv is malformed by now, or of another grid.
        """
        ticks = self._artifacts.load_ticks(self._names, self._grid)
        return {
            "classes": list(self._names),
            "colours": self._colours,
            "grid": list(self._grid),
            "frames": [self._frame(frame, ticks.get(frame)) for frame in self.frames],
        }

    def _frame(self, frame: str, found: Ticks | None) -> dict[str, Any]:
        empty = Ticks(np.zeros((*self._grid, len(self._names)), bool), np.zeros(self._grid, bool))
        ticks = found or empty
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
            DataError: it is anything else, or ticks.csv is malformed by now, or of another grid.
        """
        frame, ticks = self._read(sent)
        with self._lock, _locked(self._artifacts.scratch_folder / "ticks.lock"):
            after = {**self._artifacts.load_ticks(self._names, self._grid), frame: ticks}
            if not ticks.ticked.any():
                del after[frame]
            self._artifacts.save_ticks(self._names, after)

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
    """Return the labels of tiles by frame, (r, c, K) bool each; none where `label` has not run, or not with this grid.

    Raises:
        DataError: a table is malformed, or of other classes.
    """
    if not artifacts.labels_csv.is_file():
        return {}
    labels = artifacts.load_labels(class_names)
    if grid == WHOLE:  # for which tiles.csv has no lines
        return {frame: present[None, None] for frame, present in labels.items()}
    tiles = artifacts.load_tiles(class_names, labels) if artifacts.tiles_csv.is_file() else {}
    return tiles if all(own.shape[:2] == grid for own in tiles.values()) else {}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which a second page of the same project waits for; none where there are no locks."""
    with ExitStack() as opened:
        with suppress(ImportError, OSError):
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(opened.enter_context(path.open("a")), fcntl.LOCK_EX)
        yield
