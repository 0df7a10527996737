"""Maps restricted to the tiles whose labels name the class, with a soft border: ``m_c <- m_c * w_c``.

``w_c(x) = max over the tiles t that name c of clip(1 - 2 d(x, t), 0, 1)`` with d the distance of x from the tile, in
rows and in columns each in parts of a tile, the larger of both: 1 inside, falling linearly to 0 half a tile away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def tile_weights(tiles: np.ndarray, classes: Sequence[int], grid: tuple[int, int]) -> np.ndarray:
    """Return the weight of each class at the centre of each cell of its map: (K, h, w) float32 in [0, 1].

    A class that is in all tiles has the weight 1 everywhere.

    Args:
        tiles: (r, c, C) bool, which classes are in each tile.
        classes: indices from 0 of the K queried classes.
        grid: (h, w), the cells that cover the frame. Where there are more tiles than cells in a direction, a cell is a
            tile, and has the classes of all tiles that it overlaps.
    """
    named = within(tiles, grid)[..., list(classes)].transpose(2, 0, 1)  # (K, r', c')
    rows, columns = (_ramps(cells, number) for cells, number in zip(grid, named.shape[1:], strict=True))
    # Of the tiles of one row the largest, before rows are compared: a minimum with the same value keeps the order.
    across = np.where(named[..., None], columns, 0.0).max(2)  # (K, r', w)
    return np.minimum(rows[:, :, None], across[:, :, None]).max(1).astype(np.float32)


def is_finer(tiles: np.ndarray, grid: tuple[int, int]) -> bool:
    """Return whether there are more tiles (r, c, C) than cells (h, w) in some direction."""
    return tiles.shape[0] > grid[0] or tiles.shape[1] > grid[1]


def within(tiles: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return labels of at most as many tiles as there are cells (h, w): (min(r, h), min(c, w), C) bool."""
    for axis, cells in enumerate(grid):
        number = tiles.shape[axis]
        if number > cells:
            # Tile i overlaps cell k if k / cells < (i + 1) / number and i / number < (k + 1) / cells.
            spans = [range(k * number // cells, -(-(k + 1) * number // cells)) for k in range(cells)]
            tiles = np.stack([tiles.take(span, axis).any(axis) for span in spans], axis)
    return tiles


def _ramps(cells: int, number: int) -> np.ndarray:
    """Return (number, cells): of each tile along one side, its weight at the centre of each cell."""
    centres = (np.arange(cells) + 0.5) * (number / cells)  # in tiles
    starts = np.arange(number)[:, None]
    distance = np.maximum(np.maximum(starts - centres, centres - (starts + 1)), 0.0)
    return np.clip(1 - 2 * distance, 0.0, 1.0)
