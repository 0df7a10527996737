"""Activation maps: one compressed archive of arrays per frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wildseg.errors import DataError
from wildseg.files import atomic, load_arrays, load_bytes
from wildseg.formats.names import made_by, plain
from wildseg.formats.project import Project


class Maps(Project):
    """data/cams."""

    @property
    def cams_folder(self) -> Path:
        """Where maps lie."""
        return self.data / "cams"

    def maps_path(self, frame: str) -> Path:
        """Return where the maps of a frame lie."""
        return self.cams_folder / f"{plain(frame)}.npz"

    def save_maps(self, frame: str, classes: np.ndarray, maps: np.ndarray) -> None:
        """Write data/cams/<frame>.npz; classes: (K,) indices from 0, maps: (K, h, w) in [0, 1] at grid resolution."""
        with atomic(self.maps_path(frame)) as path:
            np.savez_compressed(path, classes=classes.astype(np.int16), maps=maps.astype(np.float16))

    def load_maps(self, frame: str) -> tuple[np.ndarray, np.ndarray]:
        """Read (classes (K,) int16 indices from 0, maps (K, h, w) float32 in [0, 1]) of a frame; K may be 0.

        Raises:
            DataError: the file is missing or broken.
        """
        path = self.maps_path(frame)
        with made_by("cam"):
            classes, maps = load_arrays(path, "classes", "maps")
            try:
                return classes, maps.astype(np.float32)
            except ValueError as error:
                raise DataError(f"{path}: expected maps of numbers ({error})") from error

    def maps_bytes(self, frame: str) -> bytes:
        """Return the file of a frame's maps as it lies on the disk.

        Raises:
            DataError: the file is missing.
        """
        with made_by("cam"):
            return load_bytes(self.maps_path(frame))
