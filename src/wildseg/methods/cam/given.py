"""Maps from files that another model wrote, such as SAM 3 (Carion et al. 2025); no network is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wildseg.cam.given_maps import GivenMaps

NEEDS = frozenset({"files"})


def read(root: Path, class_names: Sequence[str], *, path: str = "data/labels/maps") -> GivenMaps:
    """Return the maps in the folder `path`, relative to `root`; see `GivenMaps` for the files in it.

    Scales, flips and refinements are those of whoever wrote them; boxes still constrain them.
    """
    return GivenMaps(root / path, class_names, "cam.options.given.path")
