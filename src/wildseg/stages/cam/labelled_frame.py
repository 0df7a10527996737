"""What the maps of one frame are made of, beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wildseg.cam.memory import Origin
from wildseg.exchange.coco import FrameBoxes


@dataclass(frozen=True)
class LabelledFrame:
    """A frame, the indices of the classes in it, and what its maps are kept inside of, if there is such.

    limits: boxes of classes. tiles: (r, c, C) bool, which classes are in each tile. source, time_s: where the frame
    comes from, as in `wildseg.artifacts.frames.Frame`.
    """

    frame: str
    present: list[int]
    limits: FrameBoxes | None = None
    tiles: np.ndarray | None = None
    source: str = ""
    time_s: float | None = None

    @property
    def origin(self) -> Origin:
        """Where the frame comes from."""
        return Origin(self.frame, self.source, self.time_s)
