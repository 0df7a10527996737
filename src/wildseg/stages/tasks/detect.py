"""The boxes that an open-vocabulary detector finds in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.frames import KeyFrames
from wildseg.core import lookup
from wildseg.core.files import sha256_of
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry

if TYPE_CHECKING:
    from wildseg.labels.detection import Detect


@dataclass
class DetectTask(FrameTask[str]):
    """Boxes by one detector.

    method: a file of `methods/detectors`. model: a folder, a file, or a name on the model hub. phrases: the synonyms of
    each class. threshold: the lowest score of a box.
    """

    method: str
    model: str
    phrases: tuple[tuple[str, ...], ...]
    threshold: float

    detector: Detect = field(init=False, repr=False)

    stage = "detect"
    libraries = ("torch", "transformers", "ultralytics", "onnxruntime", "numpy", "pillow")
    uses_model = True

    def depends_on(self) -> dict[str, Any]:
        """Return the detector, its weights as far as they lie here, and the phrases."""
        weights = _identity(Path(self.model)) or self.model
        return {"detector": [self.method, weights, self.threshold], "phrases": self.phrases}

    def methods(self) -> tuple[str, ...]:
        """Return the module of the detector."""
        return (f"wildseg.methods.detectors.{self.method}",)

    def inputs(self, item: str) -> tuple[bytes]:
        """Return the bytes of the frame."""
        return (KeyFrames(self.root).frame_bytes(item),)

    def setup(self, device: str) -> Sequence[str]:
        """Load the detector.

        Raises:
            ModelError: its weights cannot be used.
        """
        self.detector = lookup.load("methods.detectors", self.method, "--method").load(self.model, device)
        return ()

    def compute(self, item: str) -> Entry:
        """Return the size (W, H) of the frame and its boxes, as rows, neither cut off at the frame nor thinned."""
        image = KeyFrames(self.root).load_image(item)
        height, width = image.shape[:2]
        boxes = self.detector(image, self.phrases, self.threshold)
        return Entry({"size": [width, height], "boxes": boxes.tolist()})


def _identity(model: Path) -> list[list[str]]:
    """Return the names and hashes of the files of a model that lies here; nothing of one on the hub."""
    files = [model] if model.is_file() else sorted(model.iterdir()) if model.is_dir() else []
    return [[path.name, sha256_of(path)] for path in files if path.is_file()]
