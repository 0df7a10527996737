"""Activation maps: one compressed archive of arrays per frame, loose or in shards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wildseg.artifacts.folder import Project
from wildseg.artifacts.shards import open_file, pack
from wildseg.core.arrays import load_arrays
from wildseg.core.errors import DataError
from wildseg.core.files import load_bytes, save_bytes
from wildseg.core.names import made_by, plain


class Maps(Project):
    """data/cams."""

    @property
    def cams_folder(self) -> Path:
        """The folder of maps."""
        return self.data / "cams"

    def maps_path(self, frame: str) -> Path:
        """Return the path of the maps of a frame, if loose."""
        return self.cams_folder / f"{plain(frame)}.npz"

    def save_maps(self, frame: str, classes: np.ndarray, maps: np.ndarray) -> None:
        """Write data/cams/<frame>.npz; classes: (K,) indices from 0, maps: (K, h, w) in [0, 1] at grid resolution."""
        save_bytes(self.maps_path(frame), self.encode_maps(classes, maps))

    @staticmethod
    def encode_maps(classes: np.ndarray, maps: np.ndarray) -> bytes:
        """Return the bytes that `save_maps` writes."""
        content = io.BytesIO()
        np.savez_compressed(content, classes=classes.astype(np.int16), maps=maps.astype(np.float16))
        return content.getvalue()

    def load_maps(self, frame: str) -> tuple[np.ndarray, np.ndarray]:
        """Read (classes (K,) int16 indices from 0, maps (K, h, w) float32 in [0, 1]) of a frame; K may be 0.

        Raises:
            DataError: the file is missing or broken.
        """
        path = self.maps_path(frame)
        with made_by("cam"):
            classes, maps = load_arrays(path, "classes", "maps", opener=open_file)
            try:
                return classes, maps.astype(np.float32)
            except ValueError as error:
                raise DataError(f"{path}: expected maps of numbers ({error})") from error

    def maps_bytes(self, frame: str) -> bytes:
        """Return the file of a frame's maps as it was written.

        Raises:
            DataError: the file is missing, or its shard is broken.
        """
        with made_by("cam"):
            return load_bytes(self.maps_path(frame), open_file)

    def pack_maps(self, frames: Sequence[str]) -> None:
        """Pack loose maps into shards."""
        pack(self.cams_folder, frames, ".npz")
