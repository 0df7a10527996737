"""The supervision of a segmentation model: frames with pseudo masks, scribbles or points (train.supervision)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.masks import PseudoMasks
from wildseg.artifacts.weak import WeakLabels
from wildseg.core.files import sha256_of

MASKS = "masks"  # the kind that has a confidence
Select = Callable[[np.ndarray, np.ndarray], np.ndarray]  # mask and confidence (H, W) -> mask


class Supervision(KeyFrames, PseudoMasks, WeakLabels):
    """Frames with label images of a kind: ``"masks"``, ``"scribbles"`` or ``"points"``."""

    def supervised_frames(self, kind: str) -> dict[str, list[str]]:
        """Return the names of the frames of the splits train and val that have such a label image."""
        after = "crf" if kind == MASKS else kind
        return {split: [frame.name for frame in self.load_frames(split, after=after)] for split in ("train", "val")}

    def load_supervision(self, kind: str, frame: str, select: Select | None = None) -> np.ndarray:
        """Read a label image: (H, W) uint8 ids, 0 background, 255 unlabelled; filtered by `select`."""
        mask = self.load_mask(frame) if kind == MASKS else self.load_weak(kind, frame)
        return select(mask, self.load_confidence(frame)) if select else mask

    def training_digests(
        self, kind: str, frames: Iterable[str], with_confidence: bool, encoder_weights: str | None
    ) -> list[str]:
        """Return the SHA-256 of each training file: frames, label images and, if used, confidence.

        Local encoder weights are included; a missing file is reported when it is loaded.

        Raises:
            DataError: a file is missing, or its shard is broken.
        """
        digests = [hashlib.sha256(content).hexdigest() for content in self._bytes(kind, frames, with_confidence)]
        if encoder_weights and Path(encoder_weights).is_file():
            digests.append(sha256_of(Path(encoder_weights)))
        return digests

    def _bytes(self, kind: str, frames: Iterable[str], with_confidence: bool) -> Iterator[bytes]:
        for frame in frames:
            yield self.frame_bytes(frame)
            yield self.mask_bytes(frame) if kind == MASKS else self.weak_bytes(kind, frame)
            if with_confidence:
                yield self.confidence_bytes(frame)
