"""Labels of tiles: a grid over the frame, each tile of which has labels of its own.

Where almost every class is in almost every frame, labels of frames have no negatives; those of tiles do. Tile (i, j) of
r x c holds the rows ``[H i / r, H (i + 1) / r)`` of the frame, in whole pixels, rounded down; columns alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wildseg.core.errors import ParamsError
from wildseg.labels.interface import LabelResult, NamedImage

if TYPE_CHECKING:  # views load torch, which the process of a stage has no use for
    from wildseg.labels.views import Box

Grid = tuple[int, int]
WHOLE: Grid = (1, 1)
COLUMNS = ("row", "column", "rows", "columns")  # of data/labels/tiles.csv


class Ticked(Protocol):
    """What a person ticked in a frame."""

    @property
    def labels(self) -> np.ndarray:
        """(r, c, K) bool."""

    @property
    def ticked(self) -> np.ndarray:
        """(r, c) bool: which tiles count."""


def check_names(class_names: Sequence[str], grid: Grid) -> None:
    """Raise a ParamsError where a class of labels of tiles is named as another column of their table."""
    if taken := [name for name in class_names if grid != WHOLE and name.casefold() in COLUMNS]:
        raise ParamsError(
            f"classes.{taken[0]}: with label.grid, {', '.join(COLUMNS)} are columns of data/labels/tiles.csv; choose "
            "another name"
        )


def boxes(grid: Grid) -> list[Box]:
    """Return the tiles of a grid (r, c) row by row, as left, top, right, bottom in [0, 1] of width and height."""
    rows, columns = grid
    return [(j / columns, i / rows, (j + 1) / columns, (i + 1) / rows) for i in range(rows) for j in range(columns)]


def crop(image: np.ndarray, row: int, column: int, grid: Grid) -> np.ndarray:
    """Return the pixels of a tile, counted from 0: (h, w, 3) of an image (H, W, 3), at least 1 x 1."""
    return image[_span(image.shape[0], row, grid[0]), _span(image.shape[1], column, grid[1])]


def _span(length: int, place: int, number: int) -> slice:
    start = min(length * place // number, length - 1)
    return slice(start, max(length * (place + 1) // number, start + 1))


def crops(image: NamedImage, grid: Grid) -> list[NamedImage]:
    """Return the tiles of an image row by row, each as an image of its own; the image is decoded once for all."""
    rows, columns = grid
    decoded: list[np.ndarray] = []  # until the last tile has been cropped

    def tile(row: int, column: int) -> Callable[[], np.ndarray]:
        def load() -> np.ndarray:
            whole = decoded.pop() if decoded else image.load()
            if (row, column) != (rows - 1, columns - 1):
                decoded.append(whole)
            return crop(whole, row, column, grid)

        return load

    return [NamedImage(image.name, tile(*place)) for place in np.ndindex(rows, columns)]


def merge(results: Iterable[LabelResult], grid: Grid) -> Iterator[LabelResult]:
    """Yield the result of each image from those of its tiles, row by row: scores are maxima, records are joined.

    A tile that has no scores leaves its whole image without.
    """
    remaining = iter(results)
    while parts := list(islice(remaining, grid[0] * grid[1])):
        record = joined([part.record for part in parts])
        if failed := next((part.failed for part in parts if part.failed is not None), None):
            yield LabelResult(np.zeros(0), parts[0].threshold, record, failed=failed)
            continue
        tiles = np.stack([part.scores for part in parts])
        yield LabelResult(
            tiles.max(0), parts[0].threshold, record, parts[0].relative, tiles=tiles.reshape(*grid, -1)
        )  # fmt: skip


def joined(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one record: lists one behind the other, numbers added, of anything else the first that is not None."""
    whole: dict[str, Any] = {}
    for name in dict.fromkeys(name for record in records for name in record):
        values = [record[name] for record in records if record.get(name) is not None]
        if not values:
            whole[name] = None
        elif isinstance(values[0], list):
            whole[name] = [entry for value in values for entry in value]
        elif isinstance(values[0], (int, float)) and not isinstance(values[0], bool):
            whole[name] = sum(values)
        else:
            whole[name] = values[0]
    return whole


def stacked(results: Sequence[LabelResult], grid: Grid) -> np.ndarray:
    """Return the scores of the tiles of n frames: (n, r, c, K); of a whole frame the one tile is the frame."""
    scores = [result.scores if result.tiles is None else result.tiles for result in results]
    return np.stack([own.reshape(*grid, -1) for own in scores])


def with_ticks(frames: Sequence[str], tiles: np.ndarray, ticks: Mapping[str, Ticked]) -> np.ndarray:
    """Return labels of tiles, (n, r, c, K) bool, those that a person ticked in place of a method's.

    Args:
        frames: the n names.
        tiles: (n, r, c, K) bool.
        ticks: by frame; of frames that are not among `frames` they change nothing.
    """
    out = tiles.copy()
    for row, frame in enumerate(frames):
        if (own := ticks.get(frame)) is not None:
            out[row] = np.where(own.ticked[..., None], own.labels, out[row])
    return out


def agreeing(tiles: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return labels of tiles whose union is `present`: (n, r, c, K) bool.

    A class that is not present is taken out of all tiles. One that is present but in no tile, as a person corrected the
    frame, is in every tile: nobody knows where.

    Args:
        tiles: (n, r, c, K) bool.
        present: (n, K) bool.
    """
    kept = tiles & present[:, None, None]
    nowhere = present & ~kept.any((1, 2))
    return kept | nowhere[:, None, None]
