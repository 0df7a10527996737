"""Key frames: one JPEG each, loose or in shards, and the table of their sources, times and splits."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wildseg.artifacts.quarantine import Quarantine
from wildseg.artifacts.shards import is_packed, open_file, pack
from wildseg.artifacts.weak import MADE_BY, WEAK
from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.files import load_bytes, save_bytes
from wildseg.core.images import load_image
from wildseg.core.names import check_names, made_by, plain
from wildseg.core.tables import load_table, save_table

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


class KeyFrames(Quarantine):
    """data/frames."""

    @property
    def frames_folder(self) -> Path:
        """The folder of key frames."""
        return self.data / "frames"

    def frame_path(self, frame: str) -> Path:
        """Return the path of a loose key frame."""
        return self.frames_folder / f"{plain(frame)}.jpg"

    def save_image(self, frame: str, image: np.ndarray) -> None:
        """Write a key frame; image: (H, W, 3) uint8 RGB."""
        save_bytes(self.frame_path(frame), self.encode_image(image))

    @staticmethod
    def encode_image(image: np.ndarray) -> bytes:
        """Return the bytes that `save_image` writes."""
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return content.getvalue()

    def save_image_bytes(self, frame: str, content: bytes) -> None:
        """Write an encoded key frame."""
        save_bytes(self.frame_path(frame), content)

    def load_image(self, frame: str) -> np.ndarray:
        """Read a key frame: (H, W, 3) uint8 RGB.

        Raises:
            DataError: the file is missing or broken.
        """
        with made_by("extract"):
            return load_image(self.frame_path(frame), open_file)

    def frame_bytes(self, frame: str) -> bytes:
        """Return the file of a key frame as it was written.

        Raises:
            DataError: the file is missing, or its shard is broken.
        """
        with made_by("extract"):
            return load_bytes(self.frame_path(frame), open_file)

    def pack_frames(self, frames: Sequence[str]) -> None:
        """Pack loose key frames into shards."""
        pack(self.frames_folder, frames, ".jpg")

    def frames_are_packed(self) -> bool:
        """Return whether key frames are in shards; then the outputs of later stages are, too."""
        return is_packed(self.frames_folder)

    def save_frames(self, frames: Sequence[Frame]) -> None:
        """Write data/frames/frames.csv."""
        rows = [(f.name, f.source, f.index, "" if f.time_s is None else f"{f.time_s:.6f}", f.split) for f in frames]
        save_table(self.frames_folder / "frames.csv", ("frame", "source", "index", "time_s", "split"), rows)

    def load_frames(self, *splits: str, after: str | None = None) -> list[Frame]:
        """Read the key frames, all or those of the named `splits`, in the order of frames.csv.

        Args:
            splits: of train, val, test; none means all.
            after: a stage; frames quarantined by it or an earlier one are excluded.

        Raises:
            DataError: the table is missing, malformed or empty, a frame occurs twice, a name is no file name, or every
                key frame is quarantined.
        """
        path = self.frames_folder / "frames.csv"
        with made_by("extract"):
            rows = load_table(path, ("frame", "source", "index", "time_s", "split"))
            check_names(path, rows, "frame", "source")
        if not rows:
            raise DataError(f"{path}: expected key frames, found none; see data/frames/quarantine.csv")
        try:
            frames = [
                Frame(row["frame"], row["source"], _index(row["index"]), _seconds(row["time_s"]), row["split"])
                for row in rows
            ]
        except ValueError as error:
            raise DataError(f"{path}: expected whole numbers and seconds ({error})") from error
        if twice := [name for name, times in Counter(frame.name for frame in frames).items() if times > 1]:
            raise DataError(f"{path}: the frame {twice[0]!r} occurs twice; run 'dvc repro extract'")
        if invalid := [frame for frame in frames if frame.split not in SPLITS]:
            raise DataError(f"{path}: expected the splits {', '.join(SPLITS)}; found {invalid[0].split!r} at "
                            f"{invalid[0].name!r}{did_you_mean(invalid[0].split, SPLITS)}")  # fmt: skip
        quarantined = {frame for frame, _ in self.load_quarantine(after)} if after else set()
        if after and quarantined.issuperset(frame.name for frame in frames):
            stage = MADE_BY if after in WEAK else after
            raise DataError(f"{self.quarantine_csv(after)}: expected readable key frames, found all "
                            f"{len(frames)} quarantined; run 'dvc repro {stage}'")  # fmt: skip
        return [frame for frame in frames if (not splits or frame.split in splits) and frame.name not in quarantined]


def _index(text: str) -> int:
    if (index := int(text)) < 0:
        raise ValueError(f"an index counts from 0, found {text!r}")
    return index


def _seconds(text: str) -> float | None:
    if not text:
        return None
    if not math.isfinite(seconds := float(text)):
        raise ValueError(f"a time is finite, found {text!r}")
    return seconds
