"""Points and scribbles: label images of a few pixels, 255 elsewhere, and a table of the points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from wildseg.artifacts.folder import Project
from wildseg.artifacts.shards import open_file, pack
from wildseg.core.files import load_bytes, save_bytes
from wildseg.core.images import encode_label_image, load_label_image
from wildseg.core.names import made_by, plain
from wildseg.core.tables import save_table

WEAK = ("scribbles", "points")
MADE_BY = "data/weak/dvc.yaml"  # the argument of `dvc repro`


class WeakLabels(Project):
    """data/scribbles and data/points; `kind` is one of `WEAK`."""

    def weak_folder(self, kind: str) -> Path:
        """Return the folder of the label images of a kind."""
        return self.data / kind

    def weak_path(self, kind: str, frame: str) -> Path:
        """Return the path of a loose label image."""
        return self.weak_folder(kind) / f"{plain(frame)}.png"

    def save_weak(self, kind: str, frame: str, ids: np.ndarray) -> None:
        """Write data/<kind>/<frame>.png; ids: (H, W) uint8, 0 background, 255 unlabelled."""
        save_bytes(self.weak_path(kind, frame), self.encode_weak(ids))

    @staticmethod
    def encode_weak(ids: np.ndarray) -> bytes:
        """Return the bytes that `save_weak` writes."""
        return encode_label_image(ids)

    def load_weak(self, kind: str, frame: str) -> np.ndarray:
        """Read a label image: (H, W) uint8 ids, 0 background, 255 unlabelled."""
        with made_by(MADE_BY):
            return load_label_image(self.weak_path(kind, frame), open_file)

    def weak_bytes(self, kind: str, frame: str) -> bytes:
        """Return the file of a label image as it was written.

        Raises:
            DataError: the file is missing, or its shard is broken.
        """
        with made_by(MADE_BY):
            return load_bytes(self.weak_path(kind, frame), open_file)

    def save_points(self, rows: Iterable[tuple[str, int, int, str]]) -> None:
        """Write data/points/points.csv; rows of frame, x, y in pixels from the upper left, and the class's name."""
        save_table(self.weak_folder("points") / "points.csv", ("frame", "x", "y", "class"), rows)

    def pack_weak(self, frames: Sequence[str]) -> None:
        """Pack loose label images of both kinds into shards."""
        for kind in WEAK:
            pack(self.weak_folder(kind), frames, ".png")
