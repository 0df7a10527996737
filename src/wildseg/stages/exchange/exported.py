"""What an export held, by the classes of today: corrections are compared with it, pixel by pixel.

`exported/<frame>.png` keeps the ids of the day of the export, and `export.json` the classes that they stood for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wildseg.artifacts.truth_maps import UNKNOWN, class_id, plain
from wildseg.core.classes import IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import load_json
from wildseg.core.images import load_label_image
from wildseg.exchange.dataset import listed
from wildseg.stages.exchange.class_matching import Renames
from wildseg.stages.exchange.mask_export import KEPT, RECORD


class Exported:
    """The masks of an export.

    same_ids: whether the classes stand in the order that they had when it was made.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], renames: Renames) -> None:
        """Read the classes of the export in `folder`.

        Args:
            folder: which `wildseg export` wrote.
            class_names: of params.yaml today.
            renames: what a person says of names that are no class any more.

        Raises:
            DataError: its record is missing or broken.
        """
        self.record = folder / RECORD
        names = load_json(self.record).get("classes")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{self.record}: expected the names of the classes of the export, found {names!r}")
        self.same_ids = names == list(class_names)
        self._masks, self._names, self._gone = folder / KEPT, names, []
        self._ids = np.full(256, UNKNOWN, np.int16)
        self._ids[0], self._ids[IGNORE] = 0, IGNORE
        for id_, name in enumerate(names, 1):
            try:
                self._ids[id_] = class_id(self.record, name, class_names)
            except DataError:
                if (meaning := renames.of_names.get(plain(name))) is None:
                    self._gone.append(name)
                else:
                    self._ids[id_] = meaning

    def ids(self, frame: str, shape: tuple[int, int]) -> np.ndarray | None:
        """Return the ids of a frame in the order of today's classes, (H, W) uint8; None where it was not exported.

        Raises:
            DataError: the mask has another size, or pixels of a class that is none any more.
        """
        path = self._masks / f"{frame}.png"
        if not path.exists():
            return None
        stored = load_label_image(path)
        if stored.shape != shape:
            raise DataError(f"{path}: expected the size of the key frame; it is of another export")
        found = self._ids[stored]
        if (found == UNKNOWN).any():
            raise DataError(f"{self.record}: expected classes of params.yaml, found {listed(self._gone)}, which were "
                            "classes when this was exported; say what each is now by --map NAME=CLASS or --map "
                            "NAME=ignore, or export again")  # fmt: skip
        return found.astype(np.uint8)
