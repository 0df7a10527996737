"""The pictures and numbers of one frame in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.report import PICTURES
from wildseg.core.files import load_bytes
from wildseg.core.images import load_label_image
from wildseg.core.maps import ids_of_maps
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry
from wildseg.report.frame_numbers import frame_numbers
from wildseg.report.sheets import photo, sheet_of_ids, sheet_of_maps


@dataclass
class ReportTask(FrameTask[str]):
    """Pictures and numbers of frames for the report.

    class_names: of the ids 1, 2, ... palette: their colours, (256, 3) uint8 RGB by id. background: whether a pixel may
    be of no class. predictions: the folder of the model's ids. truths: paths by frame. truth_folders: where maps of
    their ids may lie.
    """

    class_names: tuple[str, ...]
    palette: np.ndarray
    background: bool
    predictions: Path
    truths: Mapping[str, Path]
    truth_folders: Sequence[Path]

    stage = "eval"
    store = "report"
    libraries = ("numpy", "pillow", "opencv-python-headless")

    def depends_on(self) -> dict[str, Any]:
        """Return the classes, their colours, and whether there is a background."""
        return {"classes": self.class_names, "background": self.background, "palette": self.palette.tolist()}

    def methods(self) -> tuple[str, ...]:
        """Return the modules that draw, which a fingerprint leaves out by default: they decide these results."""
        return tuple(f"wildseg.report.{name}" for name in ("drawing", "frame_numbers", "sheets"))

    def inputs(self, item: str) -> list[bytes]:
        """Return the bytes of the frame, its maps, pseudo mask, confidence, prediction and truth."""
        files = self._files()
        truth = self.truths.get(item)
        paths = [] if truth is None else [truth, *files.maps_of_truth([truth])]
        return [
            files.frame_bytes(item),
            files.maps_bytes(item),
            files.mask_bytes(item),
            files.confidence_bytes(item),
            *(load_bytes(path) for path in (self._prediction(item), *paths)),
        ]

    def outputs(self, item: str) -> dict[str, Path]:
        """Return the paths of the photo and of both sheets."""
        return {kind: Artifacts(self.root).report_picture(kind, item) for kind in PICTURES}

    def empty_outputs(self) -> None:
        """Empty the folder of pictures."""
        Artifacts(self.root).empty_report_pictures()

    def compute(self, item: str) -> Entry:
        """Return the pictures, and as record the numbers, the size and the classes whose maps are on the sheet."""
        files = self._files()
        image = files.load_image(item)
        height, width = image.shape[:2]
        classes, maps = files.load_maps(item)
        pseudo, confidence = files.load_mask(item), files.load_confidence(item)
        prediction = load_label_image(self._prediction(item))
        of_maps = ids_of_maps(classes, maps, (height, width), background=self.background)
        path = self.truths.get(item)
        truth = None if path is None else files.read_truth(path, self.class_names, (height, width)).ids
        number = len(self.class_names) + 1
        record = frame_numbers(of_maps, pseudo, prediction, confidence, truth, number)
        record |= {"size": [width, height], "maps": np.asarray(classes).tolist()}
        masks = [pseudo, prediction] if truth is None else [pseudo, prediction, truth]
        pictures = {
            "photo": photo(image),
            "ids": sheet_of_ids(masks, self.palette),
            "maps": sheet_of_maps([confidence, *maps], (height, width)),
        }
        return Entry(record, pictures)

    def _files(self) -> Artifacts:
        files = Artifacts(self.root)
        files.truth_folders = list(self.truth_folders)
        return files

    def _prediction(self, item: str) -> Path:
        return self.predictions / f"{item}.png"
