"""Counts of boxes and points over all frames, and the coverage of scribbles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np


def summary(records: Collection[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return metrics/weak.json: numbers of boxes and points, in total and by class, and the coverage of scribbles.

    Args:
        records: of each frame its `size` (W, H), `boxes` and `points` as rows, and the number of `scribbled` pixels.
        names: by id, ``names[0]`` is the background.
    """
    box_ids = np.bincount([box[4] for record in records for box in record["boxes"]], minlength=len(names))
    point_ids = np.bincount([at[2] for record in records for at in record["points"]], minlength=len(names))
    pixels = sum(record["size"][0] * record["size"][1] for record in records)
    scribbled = sum(record["scribbled"] for record in records)
    return {
        "frames": len(records),
        "boxes": int(box_ids.sum()),
        "points": int(point_ids.sum()),
        "scribbled": scribbled / pixels,
        "boxes_by_class": dict(zip(names[1:], box_ids[1:].tolist(), strict=True)),
        "points_by_class": dict(zip(names, point_ids.tolist(), strict=True)),
    }
