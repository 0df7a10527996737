"""Maps that another model made, from files: one archive per frame, or one grey picture per frame and class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wildseg.core.arrays import array_names, load_arrays
from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.files import load_bytes
from wildseg.core.images import load_grey_levels
from wildseg.core.names import plain

ROUNDING = 1e-5  # beyond 0 and 1, as of a sigmoid in half precision
LEVELS = {np.dtype(np.bool_): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


@dataclass(frozen=True)
class GivenMaps:
    """A folder of maps.

    Of a frame either ``<frame>.npz`` with one array (h, w) per class, under its name; or the folder ``<frame>`` with
    ``<class>.png``, grey of 8 or 16 bits. Arrays of floats are in [0, 1]; of bool, uint8 and uint16, and pictures, the
    largest value is 1. All maps of a frame have one size, which covers the frame, whatever its cells' proportions.

    folder: of the files. class_names: as in params.yaml. key: the parameter that names the folder, for error lines.
    """

    folder: Path
    class_names: Sequence[str]
    key: str

    def check(self, present: Mapping[str, Sequence[int]]) -> str:
        """Return a remark on files that belong to no frame, empty where there are none.

        Args:
            present: of each frame the indices of its classes; a frame without any needs no maps.

        Raises:
            DataError: the folder is missing, or a frame that shows a class has no maps in it.
        """
        if not self.folder.is_dir():
            raise DataError(f"{self.key}: expected a folder of maps, found none at {self.folder}")
        found = {_frame_of(path) for path in self.folder.iterdir()} - {""}
        wanted = [frame for frame, classes in present.items() if classes]
        if missing := [frame for frame in wanted if frame not in found]:
            raise DataError(
                f"{self.key}: expected maps of each of {len(wanted)} frames that show a class, {len(missing)} have "
                f"none; write {self.folder / missing[0]}.npz, or a folder {missing[0]} of <class>.png, and so on"
            )
        others = sorted(found - set(present))
        return f"{len(others)} more that have maps are no key frames, such as {others[0]!r}" if others else ""

    def digest(self, frame: str) -> str:
        """Return a digest of the files of a frame: hex.

        Raises:
            DataError: one of them cannot be read.
        """
        content = hashlib.sha256()
        for path in self._files(frame):
            data = load_bytes(path)
            content.update(f"{path.name} {len(data)}\n".encode() + data)
        return content.hexdigest()

    def maps(self, frame: str, classes: Sequence[int], shape: tuple[int, int]) -> np.ndarray:
        """Return the maps of some classes of a frame, (K, h, w) float32 in [0, 1], as they are: not stretched.

        Args:
            frame: its name.
            classes: K indices from 0; K may be 0.
            shape: (H, W) of the frame.

        Raises:
            DataError: a file that is missing or broken, of an unknown class, or with values or a shape that no map has.
        """
        if not classes:
            return np.zeros((0, *shape), np.float32)
        arrays = self._arrays(frame, [self.class_names[index] for index in classes])
        first = next(iter(arrays.values())).shape
        for where, array in arrays.items():
            _check_shape(where, array.shape, first, shape)
        return np.stack([_unit(where, array) for where, array in arrays.items()])

    def _arrays(self, frame: str, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the array of each wanted class as it lies in its file, by the place that errors name."""
        archive = self._archive(frame)
        if archive.exists():
            self._check_names(str(archive), array_names(archive), wanted)
            arrays = load_arrays(archive, *wanted)
            return {f"{archive}, {name}": array for name, array in zip(wanted, arrays, strict=True)}
        files = self._files(frame)
        self._check_names(str(self.folder / frame), [path.stem for path in files], wanted)
        paths = [self.folder / frame / f"{name}.png" for name in wanted]
        return {str(path): load_grey_levels(path) for path in paths}

    def _check_names(self, where: str, found: Sequence[str], wanted: Sequence[str]) -> None:
        if unknown := [name for name in found if name not in self.class_names]:
            raise DataError(
                f"{where}: expected maps of classes of params.yaml, found one of {unknown[0]!r}"
                f"{did_you_mean(unknown[0], self.class_names)}"
            )
        if missing := [name for name in wanted if name not in found]:
            raise DataError(
                f"{where}: expected a map of each class that is labelled in the frame, {missing[0]!r} has none; write "
                "zeros where a model found nothing"
            )

    def _archive(self, frame: str) -> Path:
        return self.folder / f"{plain(frame)}.npz"

    def _files(self, frame: str) -> list[Path]:
        archive = self._archive(frame)
        return [archive] if archive.exists() else sorted((self.folder / frame).glob("*.png"))


def _frame_of(path: Path) -> str:
    """Return the name of the frame that a file or folder is of, or an empty string."""
    if path.suffix == ".npz":
        return path.stem
    return path.name if path.is_dir() else ""


def _check_shape(where: str, shape: tuple[int, ...], first: tuple[int, ...], frame: tuple[int, int]) -> None:
    if len(shape) != 2 or not all(shape):
        raise DataError(f"{where}: expected a map (height, width), found an array of shape {_text(shape)}")
    if shape != first:
        raise DataError(f"{where}: expected maps of one size in a frame, found {_text(shape)} beside {_text(first)}")
    (height, width), (rows, columns) = frame, (shape[0], shape[1])
    if (rows - columns) * (height - width) < 0:
        raise DataError(
            f"{where}: expected a map (height, width) of a frame of {height}x{width}, found {_text(shape)}: height and "
            "width seem to be swapped"
        )


def _unit(where: str, array: np.ndarray) -> np.ndarray:
    """Return a map (h, w) float32 in [0, 1]."""
    if (highest := LEVELS.get(array.dtype.newbyteorder("="))) is not None:
        return (array / np.float32(highest)).astype(np.float32)
    if array.dtype.kind != "f":
        raise DataError(f"{where}: expected floats in [0, 1], bool, uint8 or uint16, found {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # NaN is neither
        raise DataError(f"{where}: expected values in [0, 1], found {low:g} to {high:g}")
    return array.astype(np.float32).clip(0, 1)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"
