"""The regions of one frame for the bank: their keys, values and areas."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.frames import KeyFrames
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry
from wildseg.stages.cam.regions import MIN_AREA, load_reader, made_by

if TYPE_CHECKING:
    from wildseg.cam.params import Cam
    from wildseg.cam.region_features import RegionReader
    from wildseg.encoders.params import Clip as ClipParams

TABLES = ("keys", "values")


@dataclass
class MemoryTask(FrameTask[str]):
    """Regions of frames.

    cam: the section of params.yaml. clip: the image-text model.
    """

    cam: Cam
    clip: ClipParams

    reader: RegionReader = field(init=False, repr=False)

    stage = "memory"
    libraries = ("torch", "open_clip_torch", "transformers", "numpy", "scipy", "pillow")
    uses_model = True

    def depends_on(self) -> dict[str, Any]:
        """Return the model, and the parameters that regions depend on."""
        return made_by(self.cam, self.clip, self.root)

    def inputs(self, item: str) -> tuple[bytes]:
        """Return the bytes of the frame."""
        return (KeyFrames(self.root).frame_bytes(item),)

    def setup(self, device: str) -> Sequence[str]:
        """Load the image-text model, and the second encoder if there is one.

        Raises:
            ModelError: one of them cannot be had, or cannot be traced.
        """
        from wildseg.encoders import clip

        model = clip.load_chosen(self.clip, device=device, root=self.root)
        self.reader = load_reader(self.cam, model, self.root)
        return model.notes

    def compute(self, item: str) -> Entry:
        """Return the regions of a frame that are large enough: areas, and vectors in half precision; see `decode`."""
        found = self.reader.read(KeyFrames(self.root).load_image(item))
        large = found.areas >= MIN_AREA - 1e-9
        record = {"areas": found.areas[large].tolist()}
        for name in TABLES:
            rows = getattr(found, name)[large].astype(np.float16)
            record |= {name: base64.b64encode(rows.tobytes()).decode(), f"{name}_shape": list(rows.shape)}
        return Entry(record)


def decode(record: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keys (R, C) and values (R, d) float16, and areas (R,) float32 of what `compute` returned."""
    keys, values = (
        np.frombuffer(base64.b64decode(record[name]), np.float16).reshape(record[f"{name}_shape"]) for name in TABLES
    )
    return keys, values, np.array(record["areas"], np.float32)
