"""Labels from a table with the columns Frame and Labels, class names separated by commas.

With a grid (`label.grid`) the table has a line for each tile, and the columns Row and Column, which count from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wildseg.core.errors import DataError
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage

BY_TILE = True  # tiles are read, and not cropped


def label(frames: Sequence[NamedImage], request: LabelRequest, *, path: str) -> Iterator[LabelResult]:
    """Yield scores of 0 and 1 for each of `frames`, or each of their tiles, as the table at `path` has them.

    Raises:
        DataError: the table is missing or malformed, or has no line for some frame or tile.
    """
    of_tiles = request.grid != (1, 1) and request.read_tiles is not None
    table = request.read_tiles(path) if of_tiles and request.read_tiles else request.read_labels(path)
    if missing := [frame.name for frame in frames if frame.name not in table]:
        raise DataError(
            f"{path}: expected a line for each of {len(frames)} frames, {len(missing)} have none, the first is "
            f"{missing[0]!r}; an empty Labels cell means no class"
        )
    for frame in frames:
        scores = table[frame.name].astype(float)
        whole = scores.max((0, 1)) if of_tiles else scores
        yield LabelResult(whole, threshold=0.5, tiles=scores if of_tiles else None)
