"""A table of classes beside masks: ids, names and colours as CSV, which every reader of masks here takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def lines(names: Mapping[int, str], palette: np.ndarray) -> list[tuple[int, str, str]]:
    """Return the rows (id, name, colour as ``#rrggbb``) of a table, 255 included.

    Args:
        names: of ids.
        palette: (256, 3) uint8 by id.
    """
    every = {**names, 255: "ignore"}
    return [(id_, name, "#{:02x}{:02x}{:02x}".format(*palette[id_].tolist())) for id_, name in every.items()]
