"""What each stage leaves on disk: paths, formats, and a save_/load_ pair for each.

Nobody else writes paths. Files are written whole or not at all: see `wildseg.files`. No format here can run code when
it is read: JPEG, PNG, CSV, JSON, npz without objects, safetensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wildseg.classes import IGNORE
from wildseg.errors import DataError, did_you_mean
from wildseg.files import (
    atomic,
    fresh,
    load_arrays,
    load_bytes,
    load_image,
    load_json,
    load_label_image,
    load_table,
    save_bytes,
    save_json,
    save_label_image,
    save_png,
    save_table,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "SPLITS", "Artifacts", "Frame", "atomic", "fresh", "load_json", "load_table", "save_json", "save_table",
]  # fmt: skip

SPLITS = ("train", "val", "test")
JPEG_QUALITY = 95  # with full-resolution colour: artefacts stay below the noise of a camera


@dataclass(frozen=True)
class Frame:
    """A key frame: `name` is ``<source>_<index:06d>``, `index` counts the decoded frames of its source from 0.

    `time_s` is the presentation time in seconds; `None` where a photo has none. `split` is train, val or test.
    """

    name: str
    source: str
    index: int
    time_s: float | None
    split: str


class Artifacts:
    """The files of one project folder; `root` is where dvc.yaml lies."""

    def __init__(self, root: Path | str = ".") -> None:
        """Remember `root`; nothing is read or created yet."""
        self.root = Path(root)
        self.data = self.root / "data"
        self.metrics = self.root / "metrics"
        self.frames_folder = self.data / "frames"
        self.cams_folder = self.data / "cams"
        self.masks_folder = self.data / "masks"
        self.confidence_folder = self.masks_folder / "confidence"
        self.truth_folders = [self.data / "truth"]
        self.labels_csv = self.data / "labels" / "labels.csv"
        self.scores_csv = self.data / "labels" / "scores.csv"
        self.overrides_csv = self.data / "labels" / "overrides.csv"
        self.segmenter_folder = self.root / "models" / "segmenter"
        self.scratch_folder = self.root / ".wildseg"

    # Key frames ------------------------------------------------------------------------------------------------

    def frame_path(self, frame: str) -> Path:
        """Return where the key frame of this name lies."""
        return self.frames_folder / f"{_plain(frame)}.jpg"

    def save_image(self, frame: str, image: np.ndarray) -> None:
        """Write a key frame; image: (H, W, 3) uint8 RGB."""
        with atomic(self.frame_path(frame)) as path:
            Image.fromarray(image).save(path, quality=JPEG_QUALITY, subsampling=0)

    def save_image_bytes(self, frame: str, content: bytes) -> None:
        """Write a key frame whose file is known byte by byte."""
        save_bytes(self.frame_path(frame), content)

    def load_image(self, frame: str) -> np.ndarray:
        """Read a key frame: (H, W, 3) uint8 RGB.

        Raises:
            DataError: the file is missing or broken.
        """
        with _made_by("extract"):
            return load_image(self.frame_path(frame))

    def frame_bytes(self, frame: str) -> bytes:
        """Return the file of a key frame as it lies on the disk.

        Raises:
            DataError: the file is missing.
        """
        with _made_by("extract"):
            return load_bytes(self.frame_path(frame))

    def save_frames(self, frames: Sequence[Frame]) -> None:
        """Write data/frames/frames.csv."""
        rows = [(f.name, f.source, f.index, "" if f.time_s is None else f"{f.time_s:.6f}", f.split) for f in frames]
        save_table(self.frames_folder / "frames.csv", ("frame", "source", "index", "time_s", "split"), rows)

    def load_frames(self, *splits: str) -> list[Frame]:
        """Read the key frames, all or those of the named `splits`, in the order of frames.csv.

        Raises:
            DataError: the table is missing, malformed or empty, or a name in it is not that of a file.
        """
        path = self.frames_folder / "frames.csv"
        with _made_by("extract"):
            rows = load_table(path, ("frame", "source", "index", "time_s", "split"))
            _check_names(path, rows, "frame", "source")
        if not rows:
            raise DataError(f"{path}: expected key frames, found none; see data/frames/quarantine.csv")
        try:
            frames = [
                Frame(row["frame"], row["source"], int(row["index"]), _number_or_none(row["time_s"]), row["split"])
                for row in rows
            ]
        except ValueError as error:
            raise DataError(f"{path}: expected whole numbers and seconds ({error})") from error
        if strange := [frame for frame in frames if frame.split not in SPLITS]:
            raise DataError(f"{path}: expected the splits {', '.join(SPLITS)}; found {strange[0].split!r} at "
                            f"{strange[0].name!r}{did_you_mean(strange[0].split, SPLITS)}")  # fmt: skip
        return [frame for frame in frames if not splits or frame.split in splits]

    def save_quarantine(self, rows: Iterable[tuple[str, str]]) -> None:
        """Write data/frames/quarantine.csv: what could not be used, and why."""
        save_table(self.frames_folder / "quarantine.csv", ("item", "reason"), rows)

    # Image labels ----------------------------------------------------------------------------------------------

    def save_labels(self, frames: Sequence[str], class_names: Sequence[str], present: np.ndarray) -> None:
        """Write data/labels/labels.csv; present: (n, K) bool. An empty cell says that no class is in the frame."""
        rows = [
            (frame, ",".join(name for name, is_in in zip(class_names, row, strict=True) if is_in))
            for frame, row in zip(frames, present, strict=True)
        ]
        save_table(self.labels_csv, ("Frame", "Labels"), rows, quote_all=True)

    def load_labels(self, class_names: Sequence[str], path: Path | None = None) -> dict[str, np.ndarray]:
        """Read labels by frame, (K,) bool each, from labels.csv or another file of the same form.

        Raises:
            DataError: the file is missing or malformed, names a frame twice, or a class that is not in `class_names`.
        """
        if path is None:
            with _made_by("label"):
                return self.load_labels(class_names, self.labels_csv)
        labels: dict[str, np.ndarray] = {}
        rows = load_table(path, ("Frame", "Labels"))
        _check_names(path, rows, "Frame")
        for row in rows:
            frame = row["Frame"]
            wanted = [name.strip() for name in row["Labels"].split(",") if name.strip()]
            if unknown := [name for name in wanted if name not in class_names]:
                raise DataError(f"{path}, frame {frame!r}: expected classes of params.yaml, "
                                f"found {unknown[0]!r}{did_you_mean(unknown[0], class_names)}")  # fmt: skip
            if frame in labels:
                raise DataError(f"{path}: the frame {frame!r} stands there twice")
            labels[frame] = np.array([name in wanted for name in class_names], bool)
        return labels

    def save_scores(self, frames: Sequence[str], class_names: Sequence[str], scores: np.ndarray) -> None:
        """Write data/labels/scores.csv; scores: (n, K) float in [0, 1]."""
        rows = [(frame, *(f"{s:.6f}" for s in row)) for frame, row in zip(frames, scores, strict=True)]
        save_table(self.scores_csv, ("frame", *class_names), rows)

    def load_scores(self, class_names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read scores by frame: (K,) float64 in [0, 1] each.

        Raises:
            DataError: the file is missing or malformed, or a cell is no number.
        """
        with _made_by("label"):
            rows = load_table(self.scores_csv, ("frame", *class_names))
            _check_names(self.scores_csv, rows, "frame")
            try:
                return {row["frame"]: np.array([float(row[name]) for name in class_names]) for row in rows}
            except ValueError as error:
                raise DataError(f"{self.scores_csv}: expected numbers ({error})") from error

    # Activation maps -------------------------------------------------------------------------------------------

    def maps_path(self, frame: str) -> Path:
        """Return where the maps of a frame lie."""
        return self.cams_folder / f"{_plain(frame)}.npz"

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
        with _made_by("cam"):
            classes, maps = load_arrays(path, "classes", "maps")
            try:
                return classes, maps.astype(np.float32)
            except ValueError as error:
                raise DataError(f"{path}: expected maps of numbers ({error})") from error

    # Pseudo masks ----------------------------------------------------------------------------------------------

    def mask_path(self, frame: str) -> Path:
        """Return where the pseudo mask of a frame lies."""
        return self.masks_folder / f"{_plain(frame)}.png"

    def confidence_path(self, frame: str) -> Path:
        """Return where the confidence of a frame's pseudo mask lies."""
        return self.confidence_folder / f"{_plain(frame)}.png"

    def maps_bytes(self, frame: str) -> bytes:
        """Return the file of a frame's maps as it lies on the disk.

        Raises:
            DataError: the file is missing.
        """
        with _made_by("cam"):
            return load_bytes(self.maps_path(frame))

    def save_mask(self, frame: str, mask: np.ndarray) -> None:
        """Write data/masks/<frame>.png; mask: (H, W) uint8 ids, 0 background, 255 ignore."""
        save_label_image(self.mask_path(frame), mask)

    def load_mask(self, frame: str) -> np.ndarray:
        """Read a pseudo mask: (H, W) uint8 ids, 0 background, 255 ignore."""
        with _made_by("crf"):
            return load_label_image(self.mask_path(frame))

    def save_confidence(self, frame: str, confidence: np.ndarray) -> None:
        """Write data/masks/confidence/<frame>.png; confidence: (H, W) in [0, 1], the chosen class's probability."""
        levels = np.round(np.clip(confidence, 0, 1) * 255).astype(np.uint8)
        save_png(self.confidence_path(frame), Image.fromarray(levels))

    def load_confidence(self, frame: str) -> np.ndarray:
        """Read the confidence of a pseudo mask: (H, W) float32 in [0, 1], in steps of 1/255."""
        with _made_by("crf"):
            return load_label_image(self.confidence_path(frame)).astype(np.float32) / 255

    # Truth -----------------------------------------------------------------------------------------------------

    def truth_path(self, frame: Frame) -> Path | None:
        """Return the truth of a frame, ``<truth folder>/[<source>/]<frame>.png``, or None where there is none.

        The truth folders are data/truth and whatever a stage appended to `truth_folders`.
        """
        name = f"{_plain(frame.name)}.png"
        for folder in self.truth_folders:
            for path in (folder / name, folder / _plain(frame.source) / name):
                if path.is_file():
                    return path
        return None

    def load_truth(self, frame: Frame, num_classes: int, shape: tuple[int, int]) -> np.ndarray | None:
        """Read the truth of a frame, (H, W) uint8 ids, or None where there is none.

        Raises:
            DataError: another size than `shape`, or an id that is neither 0..num_classes nor 255.
        """
        path = self.truth_path(frame)
        if path is None:
            return None
        truth = load_label_image(path)
        if truth.shape != shape:
            raise DataError(f"{path}: expected the size of its frame, {shape[1]}x{shape[0]}, "
                            f"found {truth.shape[1]}x{truth.shape[0]}")  # fmt: skip
        if strange := sorted(set(np.unique(truth).tolist()) - {*range(num_classes + 1), IGNORE}):
            raise DataError(f"{path}: expected ids 0 to {num_classes} or {IGNORE}, found {strange}; "
                            "ids follow the order of 'classes' in params.yaml, 0 is background")  # fmt: skip
        return truth

    # The segmentation model ------------------------------------------------------------------------------------

    def save_segmenter(self, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
        """Write models/segmenter: weights as safetensors, and all that is needed to build the network as JSON."""
        from safetensors.torch import save

        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
        with atomic(self.segmenter_folder / "model.safetensors") as path:
            # Not by its own save_file: that hides a full disk in an error of its own, and lets only the owner read.
            path.write_bytes(content)
        save_json(self.segmenter_folder / "config.json", config)

    def load_segmenter(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Read (weights by name, config) of the trained model.

        Raises:
            DataError: nothing was trained yet, or a file is broken.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.segmenter_folder / "model.safetensors"
        with _made_by("train"):
            try:
                return load_file(path), load_json(self.segmenter_folder / "config.json")
            except (OSError, SafetensorError) as error:
                raise DataError(f"{path}: expected a trained model ({error})") from error

    def load_segmenter_config(self) -> dict[str, Any]:
        """Read the config of the trained model alone.

        Raises:
            DataError: nothing was trained yet, or the file is broken.
        """
        with _made_by("train"):
            return load_json(self.segmenter_folder / "config.json")

    def segmenter_bytes(self) -> bytes:
        """Return the weights of the trained model as they lie on the disk.

        Raises:
            DataError: nothing was trained yet.
        """
        with _made_by("train"):
            return load_bytes(self.segmenter_folder / "model.safetensors")

    # Metrics ---------------------------------------------------------------------------------------------------

    def metrics_path(self, name: str) -> Path:
        """Return ``metrics/<name>``."""
        return self.metrics / name


@contextmanager
def _made_by(stage: str) -> Iterator[None]:
    # What a stage wrote and cannot be read is made again, not repaired.
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; run 'dvc repro {stage}'") from error


def _is_plain(name: str) -> bool:
    # Names become paths: one with a slash in it could lead out of the data folder, to be read or to be overwritten.
    return name not in ("", ".", "..") and name.isprintable() and not set(name) & set("/\\")


def _plain(name: str) -> str:
    # Tables are checked when they are read; this is for names that come another way.
    if not _is_plain(name):
        raise DataError(f"expected the name of a frame, without any folder; found {name!r}")
    return name


def _check_names(path: Path, rows: Iterable[Mapping[str, str]], *columns: str) -> None:
    for column in columns:
        for row in rows:
            if not _is_plain(row[column]):
                raise DataError(f"{path}: expected plain file names in the column {column!r}, without any folder; "
                                f"found {row[column]!r}")  # fmt: skip


def _number_or_none(text: str) -> float | None:
    return float(text) if text else None
