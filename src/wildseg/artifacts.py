"""What each stage leaves on disk: paths, formats, and a save_/load_ pair for each.

Nobody else writes paths. Every file is written under a temporary name and renamed, so that a file that exists is whole.
No format here can run code when it is read: JPEG, PNG, CSV, JSON, npz without objects, safetensors.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wildseg.classes import IGNORE, palette
from wildseg.errors import DataError

if TYPE_CHECKING:
    import torch

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


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success, remove it on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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

    # Key frames ------------------------------------------------------------------------------------------------

    def frame_path(self, frame: str) -> Path:
        """Return where the key frame of this name lies."""
        return self.frames_folder / f"{frame}.jpg"

    def save_image(self, frame: str, image: np.ndarray) -> None:
        """Write a key frame; image: (H, W, 3) uint8 RGB."""
        with atomic(self.frame_path(frame)) as path:
            Image.fromarray(image).save(path, quality=JPEG_QUALITY, subsampling=0)

    def load_image(self, frame: str) -> np.ndarray:
        """Read a key frame: (H, W, 3) uint8 RGB.

        Raises:
            DataError: the file is missing or broken.
        """
        path = self.frame_path(frame)
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError) as error:
            raise DataError(f"{path}: expected a key frame, found none that can be read ({error}); "
                            "run 'dvc repro extract'") from error  # fmt: skip

    def save_frames(self, frames: Sequence[Frame]) -> None:
        """Write data/frames/frames.csv."""
        rows = [(f.name, f.source, f.index, "" if f.time_s is None else f"{f.time_s:.6f}", f.split) for f in frames]
        save_table(self.frames_folder / "frames.csv", ("frame", "source", "index", "time_s", "split"), rows)

    def load_frames(self, *splits: str) -> list[Frame]:
        """Read the key frames, all or those of the named `splits`, in the order of frames.csv.

        Raises:
            DataError: the table is missing, malformed or empty.
        """
        path = self.frames_folder / "frames.csv"
        rows = load_table(path, ("frame", "source", "index", "time_s", "split"))
        if not rows:
            raise DataError(f"{path}: expected key frames, found none; see data/frames/quarantine.csv")
        try:
            frames = [
                Frame(row["frame"], row["source"], int(row["index"]), _number_or_none(row["time_s"]), row["split"])
                for row in rows
            ]
        except ValueError as error:
            raise DataError(f"{path}: expected whole numbers and seconds ({error})") from error
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
        path = path or self.labels_csv
        labels: dict[str, np.ndarray] = {}
        for number, row in enumerate(load_table(path, ("Frame", "Labels")), start=2):
            wanted = [name.strip() for name in row["Labels"].split(",") if name.strip()]
            if unknown := [name for name in wanted if name not in class_names]:
                raise DataError(f"{path}, line {number}: expected classes of params.yaml, found {unknown[0]!r}")
            if row["Frame"] in labels:
                raise DataError(f"{path}, line {number}: the frame {row['Frame']!r} stands there twice")
            labels[row["Frame"]] = np.array([name in wanted for name in class_names], bool)
        return labels

    def save_scores(self, frames: Sequence[str], class_names: Sequence[str], scores: np.ndarray) -> None:
        """Write data/labels/scores.csv; scores: (n, K) float in [0, 1]."""
        rows = [(frame, *(f"{s:.6f}" for s in row)) for frame, row in zip(frames, scores, strict=True)]
        save_table(self.scores_csv, ("frame", *class_names), rows)

    def load_scores(self, class_names: Sequence[str]) -> dict[str, np.ndarray]:
        """Read scores by frame: (K,) float64 in [0, 1] each."""
        rows = load_table(self.scores_csv, ("frame", *class_names))
        return {row["frame"]: np.array([float(row[name]) for name in class_names]) for row in rows}

    # Activation maps -------------------------------------------------------------------------------------------

    def save_maps(self, frame: str, classes: np.ndarray, maps: np.ndarray) -> None:
        """Write data/cams/<frame>.npz; classes: (K,) indices from 0, maps: (K, h, w) in [0, 1] at grid resolution."""
        with atomic(self.cams_folder / f"{frame}.npz") as path:
            np.savez_compressed(path, classes=classes.astype(np.int16), maps=maps.astype(np.float16))

    def load_maps(self, frame: str) -> tuple[np.ndarray, np.ndarray]:
        """Read (classes (K,) int16 indices from 0, maps (K, h, w) float32 in [0, 1]) of a frame; K may be 0.

        Raises:
            DataError: the file is missing or broken.
        """
        path = self.cams_folder / f"{frame}.npz"
        try:
            with np.load(path, allow_pickle=False) as archive:
                return archive["classes"], archive["maps"].astype(np.float32)
        except Exception as error:  # zipfile, zlib and numpy each raise their own kinds for a broken archive
            raise DataError(f"{path}: expected maps, found none that can be read ({error}); "
                            "run 'dvc repro cam'") from error  # fmt: skip

    # Pseudo masks ----------------------------------------------------------------------------------------------

    def save_mask(self, frame: str, mask: np.ndarray) -> None:
        """Write data/masks/<frame>.png; mask: (H, W) uint8 ids, 0 background, 255 ignore."""
        save_label_image(self.masks_folder / f"{frame}.png", mask)

    def load_mask(self, frame: str) -> np.ndarray:
        """Read a pseudo mask: (H, W) uint8 ids, 0 background, 255 ignore."""
        return load_label_image(self.masks_folder / f"{frame}.png")

    def save_confidence(self, frame: str, confidence: np.ndarray) -> None:
        """Write data/masks/confidence/<frame>.png; confidence: (H, W) in [0, 1], the chosen class's probability."""
        with atomic(self.confidence_folder / f"{frame}.png") as path:
            Image.fromarray(np.round(np.clip(confidence, 0, 1) * 255).astype(np.uint8)).save(path)

    def load_confidence(self, frame: str) -> np.ndarray:
        """Read the confidence of a pseudo mask: (H, W) float32 in [0, 1], in steps of 1/255."""
        return load_label_image(self.confidence_folder / f"{frame}.png").astype(np.float32) / 255

    # Truth -----------------------------------------------------------------------------------------------------

    def truth_path(self, frame: Frame) -> Path | None:
        """Return the truth of a frame, ``<truth folder>/[<source>/]<frame>.png``, or None where there is none.

        The truth folders are data/truth and whatever a stage appended to `truth_folders`.
        """
        for folder in self.truth_folders:
            for path in (folder / f"{frame.name}.png", folder / frame.source / f"{frame.name}.png"):
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
        from safetensors.torch import save_file

        with atomic(self.segmenter_folder / "model.safetensors") as path:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, path)
        save_json(self.segmenter_folder / "config.json", config)

    def load_segmenter(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Read (weights by name, config) of the trained model.

        Raises:
            DataError: nothing was trained yet, or a file is broken.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.segmenter_folder / "model.safetensors"
        try:
            return load_file(path), load_json(self.segmenter_folder / "config.json")
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: expected a trained model, found none that can be read ({error}); "
                            "run 'dvc repro train'") from error  # fmt: skip

    # Metrics ---------------------------------------------------------------------------------------------------

    def metrics_path(self, name: str) -> Path:
        """Return ``metrics/<name>``."""
        return self.metrics / name


def fresh(folder: Path) -> Path:
    """Empty `folder`, so that nothing of an earlier run is taken for this one's; return it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; NaN and infinity, which JSON lacks, become null, and numpy numbers become plain ones."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(_jsonable(content), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: missing or malformed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def save_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], *, quote_all: bool = False) -> None:
    """Write a CSV file with a header line, UTF-8, line ends as on Unix."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
        writer.writerow(header)
        writer.writerows(rows)


def load_table(path: Path, header: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file that has at least the columns of `header`.

    Raises:
        DataError: missing file, missing column, or a line of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
            columns = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV file ({error})") from error
    if missing := [name for name in header if name not in columns]:
        raise DataError(f"{path}: expected the columns {', '.join(header)}; {missing[0]!r} is missing")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{path}, line {number}: expected {len(columns)} columns; quote a cell that holds commas")
    return rows


def save_label_image(path: Path, ids: np.ndarray) -> None:
    """Write (H, W) uint8 ids as a palette PNG, so that a viewer shows the classes in colour."""
    image = Image.fromarray(ids).convert("P")
    image.putpalette(palette().reshape(-1).tolist())
    with atomic(path) as temporary:
        image.save(temporary)


def load_label_image(path: Path) -> np.ndarray:
    """Read (H, W) uint8 ids from a palette or 8-bit grey PNG.

    Raises:
        DataError: missing, broken, or an image in colour.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise DataError(f"{path}: expected a palette or 8-bit grey image of class ids, found mode {image.mode}")
            return np.asarray(image).copy()
    except (OSError, SyntaxError) as error:
        raise DataError(f"{path}: expected an image of class ids ({error})") from error


def _number_or_none(text: str) -> float | None:
    return float(text) if text else None


def _jsonable(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
