"""The pseudo mask of one frame, and its confidence: from its image and its maps, by dense CRF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.corrected import CorrectedMasks
from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.maps import Maps
from wildseg.artifacts.masks import PseudoMasks
from wildseg.core.classes import IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir
from wildseg.crf.masks import pseudo_mask
from wildseg.crf.pixel_counts import count_ids
from wildseg.crf.validation import problem
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry

if TYPE_CHECKING:
    from wildseg.crf.params import Crf


@dataclass
class CrfTask(FrameTask[str]):
    """Pseudo masks.

    crf: the section of params.yaml. num_classes: how many there are. background: whether a pixel may be of no class.
    corrected: masks that a person corrected, which are taken as they are.
    """

    crf: Crf
    num_classes: int
    background: bool
    corrected: CorrectedMasks

    stage = "crf"
    libraries = ("pydensecrf2", "pydensecrf", "numpy", "opencv-python-headless", "pillow")

    def depends_on(self) -> dict[str, Any]:
        """Return the settings of the CRF and what classes there are."""
        return {"crf": replace(self.crf, max_failures=0.0), "classes": [self.num_classes, self.background]}

    def inputs(self, item: str) -> tuple[bytes, ...]:
        """Return the bytes of the frame and of its maps, and of its corrected mask, if any."""
        frame, maps = KeyFrames(self.root).frame_bytes(item), Maps(self.root).maps_bytes(item)
        return frame, maps, *self.corrected.contents(item)

    def outputs(self, item: str) -> dict[str, Path]:
        """Return where the mask and its confidence lie."""
        masks = PseudoMasks(self.root)
        return {"mask": masks.mask_path(item), "confidence": masks.confidence_path(item)}

    def empty_outputs(self) -> None:
        """Empty data/masks and data/masks/confidence."""
        masks = PseudoMasks(self.root)
        empty_dir(masks.masks_folder)
        empty_dir(masks.confidence_folder)

    def pack(self, frames: Sequence[str]) -> None:
        """Pack masks and confidence into shards."""
        PseudoMasks(self.root).pack_masks(frames)

    def compute(self, item: str) -> Entry:
        """Return the mask and its confidence, its pixels by id, and how many classes the frame shows."""
        image = KeyFrames(self.root).load_image(item)
        classes, maps = Maps(self.root).load_maps(item)
        if wrong := problem(classes, maps, self.num_classes, (image.shape[0], image.shape[1])):
            raise DataError(f"maps of the frame {item!r}: {wrong}; run 'dvc repro cam'")
        if item in self.corrected.paths:
            mask = self.corrected.load(item, (image.shape[0], image.shape[1]))
            if not self.background and not mask.all():
                raise DataError(f"{self.corrected.paths[item]}: expected ids from 1, as 'background' is [] and every "
                                "pixel belongs to a class, found 0; 255 leaves a pixel undecided")  # fmt: skip
            confidence = (mask != IGNORE).astype(np.float32)
        else:
            mask, confidence = pseudo_mask(image, classes, maps, self.crf, background=self.background)
        contents = {"mask": PseudoMasks.encode_mask(mask), "confidence": PseudoMasks.encode_confidence(confidence)}
        return Entry((count_ids(mask), len(classes)), contents)
