"""What the maps of one frame are made of, beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wildseg.cam.blank import count_blank
from wildseg.cam.boxes import cells_inside
from wildseg.cam.memory import Origin
from wildseg.cam.tiles import is_finer, tile_weights
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

    def kept_inside(self, maps: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        """Return maps (k, h, w) of the present classes inside of their tiles and boxes, and counts of what is odd.

        These are maps that are ``blank``, that are blank only inside of their tiles, ``outside``, and only inside of
        their boxes, ``emptied``; ``finer`` is 1 where there are more tiles than cells.
        """
        blank = count_blank(maps)
        counts = {"blank": blank, "emptied": 0}
        if self.tiles is not None:
            counts["finer"] = int(is_finer(self.tiles, maps.shape[1:]))
            maps = maps * tile_weights(self.tiles, self.present, maps.shape[1:])
            counts["outside"] = count_blank(maps) - blank
        if (limits := self.limits) is not None:
            before = count_blank(maps)
            maps = maps * cells_inside(limits.boxes, (limits.width, limits.height), self.present, maps.shape[1:])
            counts["emptied"] = count_blank(maps) - before
        return maps, counts
