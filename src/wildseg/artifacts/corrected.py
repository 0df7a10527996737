"""data/corrected: pseudo masks that a person corrected, which no stage ever writes; stored as truths are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from wildseg.artifacts.frames import Frame
from wildseg.artifacts.truth import Truth
from wildseg.core.files import load_bytes
from wildseg.core.tables import load_table

FOLDER = "corrected"
TABLE, COLUMNS = "corrections.csv", ("frame", "file", "touched", "pixels", "overlapping")


def corrected_files(root: Path | str) -> Truth:
    """Return data/corrected under the interface of truths: names, encodings and maps of classes are theirs."""
    files = Truth(root)
    files.truth_folders = [files.data / FOLDER]
    return files


class CorrectedMasks:
    """The corrected masks of some frames, and the maps of classes beside them."""

    def __init__(self, root: Path | str, frames: Sequence[Frame], class_names: Sequence[str]) -> None:
        """Find the masks of `frames`.

        Raises:
            DataError: two files are of the same frame.
        """
        self._masks = corrected_files(root)
        self._names = tuple(class_names)
        self.paths: Mapping[str, Path] = self._masks.find_truth(frames)

    def contents(self, frame: str) -> tuple[bytes, ...]:
        """Return all that the ids of a frame depend on, nothing where it was not corrected."""
        path = self.paths.get(frame)
        if path is None:
            return ()
        files = (path, *self._masks.maps_of_truth([path]))
        return (*map(load_bytes, files), json.dumps(self._names).encode())

    def load(self, frame: str, shape: tuple[int, int]) -> np.ndarray:
        """Return the ids of a corrected frame, of its size (H, W): uint8, 255 undecided.

        Raises:
            DataError: it, or the map, is invalid; see `wildseg.artifacts.truth_masks.load`.
        """
        return self._masks.read_truth(self.paths[frame], self._names, shape).ids

    def without_frame(self, known: Iterable[str]) -> list[str]:
        """Return the frames that corrections.csv of any source names, and that are not `known`, in order."""
        (folder,) = self._masks.truth_folders
        listed = {row["frame"] for table in folder.glob(f"*/{TABLE}") for row in load_table(table, COLUMNS)}
        return sorted(listed - set(known))
