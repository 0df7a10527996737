"""Predictions of `wildseg predict`: a folder with ids of every frame, the map of ids to classes, and what was chosen.

The ids of a frame are a palette PNG that carries the key of its result, as the text `KEY`: another run with the same
key leaves the frame as it is. They are written last, so that a frame with ids has everything.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wildseg.core.errors import check_regular
from wildseg.core.files import save_bytes, save_json
from wildseg.core.images import BROKEN_IMAGE, encode_label_image, encode_png, load_label_image
from wildseg.core.tables import save_table

KEY = "wildseg-key"
HEADER = 33  # bytes of a PNG up to the end of its first chunk: signature, then 13 bytes of IHDR in a chunk
JPEG_QUALITY = 90

# What a frame may have beside its ids: a folder each, with the suffix of its files.
ROLES = {"confidence": ".png", "overlay": ".jpg", "probabilities": ".npz", "costmap": ".png"}


@dataclass(frozen=True)
class PredictionFolder:
    """The folder of predictions; a frame's name is that of a file, below the name of its video where it has one."""

    root: Path

    def ids_path(self, frame: str) -> Path:
        """Return the path of a frame's ids, (H, W) uint8 as palette PNG."""
        return self.root / f"{frame}.png"

    def path(self, role: str, frame: str) -> Path:
        """Return the path of something else of a frame, by its role."""
        return self.root / role / f"{frame}{ROLES[role]}"

    def video_path(self, video: str) -> Path:
        """Return the path of a video with its predictions."""
        return self.root / "overlay" / f"{video}.mp4"

    @property
    def quarantine_csv(self) -> Path:
        """The table of what could not be read, and why."""
        return self.root / "quarantine.csv"

    def key_of(self, frame: str) -> str | None:
        """Return the key of a frame's ids; None where there are none, or they are not whole."""
        path = self.ids_path(frame)
        try:
            check_regular(path)
            with Image.open(path, formats=("PNG",)) as image:
                key = image.info.get(KEY)
                return key if isinstance(key, str) else None
        except BROKEN_IMAGE:
            return None

    def load_ids(self, frame: str) -> np.ndarray:
        """Read the ids of a frame, (H, W) uint8.

        Raises:
            DataError: missing or broken.
        """
        return load_label_image(self.ids_path(frame))

    def save(self, frame: str, key: str, ids: np.ndarray, palette: np.ndarray, others: Mapping[str, bytes]) -> None:
        """Write a frame: what `others` holds by role, then its ids; what it had of other roles is removed.

        The palette is (256, 3) uint8 RGB by id.
        """
        for role in ROLES:
            if role in others:
                save_bytes(self.path(role, frame), others[role])
            else:
                self.path(role, frame).unlink(missing_ok=True)
        save_bytes(self.ids_path(frame), _with_text(encode_label_image(ids, palette), KEY, key))

    def remove(self, frame: str) -> None:
        """Remove what an earlier run left of a frame, its ids first."""
        for path in (self.ids_path(frame), *(self.path(role, frame) for role in ROLES)):
            path.unlink(missing_ok=True)

    def save_classes(self, class_names: Sequence[str], label_info: Mapping[str, Any] | None) -> None:
        """Write classes.json, the names by id as data/truth takes it, and the LabelInfo beside masks for a costmap."""
        save_json(self.root / "classes.json", {str(index): name for index, name in enumerate(class_names)})
        if label_info is not None:
            save_json(self.root / "costmap" / "label_info.json", label_info)

    def save_report(self, report: Mapping[str, Any], quarantine: Iterable[tuple[str, str]]) -> None:
        """Write prediction.json, how the predictions were made, and quarantine.csv."""
        save_table(self.quarantine_csv, ("item", "reason"), quarantine)
        save_json(self.root / "prediction.json", report)

    def remove_leftovers(self) -> None:
        """Remove videos that a killed run began; only with the folder's lock."""
        for path in (self.root / "overlay").glob(".*.mp4"):
            path.unlink(missing_ok=True)


def encode_confidence(probability: np.ndarray) -> bytes:
    """Return (H, W) probabilities of the chosen ids, in [0, 1], as grey PNG, times 255."""
    return encode_png(Image.fromarray((probability * 255).round().astype(np.uint8)))


def encode_costmap(ids: np.ndarray) -> bytes:
    """Return (H, W) uint8 ids as grey PNG, what ROS calls mono8."""
    return encode_png(Image.fromarray(ids))


def encode_overlay(image: np.ndarray) -> bytes:
    """Return (H, W, 3) uint8 RGB as JPEG."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()


def encode_probabilities(probabilities: np.ndarray) -> bytes:
    """Return (C + 1, H, W) probabilities in half precision as .npz, under the name ``probabilities``."""
    content = io.BytesIO()
    np.savez_compressed(content, probabilities=probabilities.astype(np.float16))
    return content.getvalue()


def _with_text(png: bytes, keyword: str, text: str) -> bytes:
    """Return a PNG with a chunk of text after its header (PNG, third edition, 11.3.3.2: keyword, zero, Latin-1)."""
    body = b"tEXt" + keyword.encode() + b"\0" + text.encode("latin-1")
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return png[:HEADER] + chunk + png[HEADER:]
