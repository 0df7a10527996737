"""The frame task of weak labels: boxes, points and scribbles from maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.maps import Maps
from wildseg.artifacts.weak import WEAK, WeakLabels
from wildseg.core.classes import IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir
from wildseg.crf.validation import problem
from wildseg.crf.weak.frame import weak_labels
from wildseg.crf.weak.scribbles import dots
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry

if TYPE_CHECKING:
    from wildseg.crf.params import Weak


@dataclass
class WeakTask(FrameTask[str]):
    """Boxes, points and scribbles.

    weak: the section of params.yaml. num_classes: how many there are. background: whether a pixel may be of no class.
    seed: of params.yaml; with the frame's name, that of its background points.
    """

    weak: Weak
    num_classes: int
    background: bool
    seed: int

    stage = "weak"
    libraries = ("numpy", "scipy", "opencv-python-headless", "pillow")

    def depends_on(self) -> dict[str, Any]:
        """Return the settings, what classes there are, and the seed."""
        weak = replace(self.weak, max_failures=0.0, pictures=0)
        return {"weak": weak, "classes": [self.num_classes, self.background], "seed": self.seed}

    def inputs(self, item: str) -> tuple[str, bytes, bytes]:
        """Return the frame's name, which is part of the seed, its bytes and those of its maps."""
        return item, KeyFrames(self.root).frame_bytes(item), Maps(self.root).maps_bytes(item)

    def outputs(self, item: str) -> dict[str, Path]:
        """Return the paths of points and scribbles; boxes of all frames are in one file."""
        return {kind: WeakLabels(self.root).weak_path(kind, item) for kind in WEAK}

    def empty_outputs(self) -> None:
        """Empty data/points and data/scribbles."""
        for kind in WEAK:
            empty_dir(WeakLabels(self.root).weak_folder(kind))

    def pack(self, frames: Sequence[str]) -> None:
        """Pack points and scribbles into shards."""
        WeakLabels(self.root).pack_weak(frames)

    def compute(self, item: str) -> Entry:
        """Return points and scribbles as label images, and boxes and points as rows."""
        height, width = KeyFrames(self.root).load_image(item).shape[:2]
        classes, grid = Maps(self.root).load_maps(item)
        if wrong := problem(classes, grid, self.num_classes):
            raise DataError(f"maps of the frame {item!r}: {wrong}; run 'dvc repro cam'")
        rng = np.random.default_rng([self.seed, *item.encode()])
        found = weak_labels(classes, grid, (height, width), self.weak, rng, background=self.background)
        images = {"points": dots(found.points, (height, width)), "scribbles": found.scribbles}
        record = {
            "size": [width, height],
            "boxes": found.boxes,
            "points": found.points.tolist(),
            "scribbled": int((found.scribbles != IGNORE).sum()),
        }
        return Entry(record, {kind: WeakLabels.encode_weak(image) for kind, image in images.items()})
