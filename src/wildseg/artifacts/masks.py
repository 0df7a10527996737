"""Pseudo masks and their confidence: one label image and one grey image per frame; loose or in shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wildseg.artifacts.folder import Project
from wildseg.artifacts.shards import open_file, pack
from wildseg.core.files import load_bytes, save_bytes
from wildseg.core.images import encode_label_image, encode_png, load_label_image
from wildseg.core.names import made_by, plain


class PseudoMasks(Project):
    """data/masks."""

    @property
    def masks_folder(self) -> Path:
        """The folder of pseudo masks."""
        return self.data / "masks"

    @property
    def confidence_folder(self) -> Path:
        """The folder of their confidence."""
        return self.masks_folder / "confidence"

    def mask_path(self, frame: str) -> Path:
        """Return the path of the pseudo mask of a frame, if loose."""
        return self.masks_folder / f"{plain(frame)}.png"

    def confidence_path(self, frame: str) -> Path:
        """Return the path of the confidence of a frame's pseudo mask, if loose."""
        return self.confidence_folder / f"{plain(frame)}.png"

    def save_mask(self, frame: str, mask: np.ndarray) -> None:
        """Write data/masks/<frame>.png; mask: (H, W) uint8 ids, 0 background, 255 ignore."""
        save_bytes(self.mask_path(frame), self.encode_mask(mask))

    @staticmethod
    def encode_mask(mask: np.ndarray) -> bytes:
        """Return the bytes that `save_mask` writes."""
        return encode_label_image(mask)

    def load_mask(self, frame: str) -> np.ndarray:
        """Read a pseudo mask: (H, W) uint8 ids, 0 background, 255 ignore."""
        with made_by("crf"):
            return load_label_image(self.mask_path(frame), open_file)

    def save_confidence(self, frame: str, confidence: np.ndarray) -> None:
        """Write data/masks/confidence/<frame>.png; confidence: (H, W) in [0, 1], the chosen class's probability."""
        save_bytes(self.confidence_path(frame), self.encode_confidence(confidence))

    @staticmethod
    def encode_confidence(confidence: np.ndarray) -> bytes:
        """Return the bytes that `save_confidence` writes."""
        levels = np.round(np.clip(confidence, 0, 1) * 255).astype(np.uint8)
        return encode_png(Image.fromarray(levels))

    def load_confidence(self, frame: str) -> np.ndarray:
        """Read the confidence of a pseudo mask: (H, W) float32 in [0, 1], in steps of 1/255."""
        with made_by("crf"):
            return load_label_image(self.confidence_path(frame), open_file).astype(np.float32) / 255

    def mask_bytes(self, frame: str) -> bytes:
        """Return the file of a pseudo mask as it was written.

        Raises:
            DataError: the file is missing, or its shard is broken.
        """
        with made_by("crf"):
            return load_bytes(self.mask_path(frame), open_file)

    def confidence_bytes(self, frame: str) -> bytes:
        """Return the file of a pseudo mask's confidence as it was written.

        Raises:
            DataError: the file is missing, or its shard is broken.
        """
        with made_by("crf"):
            return load_bytes(self.confidence_path(frame), open_file)

    def pack_masks(self, frames: Sequence[str]) -> None:
        """Pack loose pseudo masks and their confidence into shards."""
        for folder in (self.masks_folder, self.confidence_folder):
            pack(folder, frames, ".png")
