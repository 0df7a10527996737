"""The ground of a world: a grid of surfaces in path coordinates.

Path coordinates are (u, y): y metres forward, u metres to the right of the path's centre line. The path bends
in the world, x = u + bend(y), but is straight in the grid, so that painting a kerb is filling a range of columns.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wildseg_demo.world.noise import Field
from wildseg_demo.world.surfaces import Surface

CELL = 0.05  # metres
U_MIN, U_MAX = -24.0, 24.0
Y_MIN, Y_MAX = -4.0, 76.0
COLUMNS = round((U_MAX - U_MIN) / CELL)
ROWS = round((Y_MAX - Y_MIN) / CELL)


def column_of(u: float) -> int:
    """The grid column of a lateral position in metres, clipped to the grid."""
    return int(np.clip(round((u - U_MIN) / CELL), 0, COLUMNS))


def row_of(y: float) -> int:
    """The grid row of a forward position in metres, clipped to the grid."""
    return int(np.clip(round((y - Y_MIN) / CELL), 0, ROWS))


def rows_of(y: Field) -> NDArray[np.int32]:
    """The grid rows of many forward positions, clipped to the grid."""
    return np.clip(((y - np.float32(Y_MIN)) * np.float32(1 / CELL)).astype(np.int32), 0, ROWS - 1)


def columns_of(u: Field) -> NDArray[np.int32]:
    """The grid columns of many lateral positions, clipped to the grid."""
    return np.clip(((u - np.float32(U_MIN)) * np.float32(1 / CELL)).astype(np.int32), 0, COLUMNS - 1)


def cells_of(rows: NDArray[np.int32], u: Field) -> NDArray[np.int32]:
    """Flat indices into a (ROWS, COLUMNS) grid, for `take`, of many points; those outside count as on the edge."""
    return rows * COLUMNS + columns_of(u)


@dataclass(frozen=True)
class Bend:
    """The path's centre line, x = amplitude * (sin(2 pi y / wavelength + phase) - sin(phase)), in metres."""

    amplitude: float
    wavelength: float
    phase: float

    def at(self, y: float) -> float:
        """Return x of the centre line at y, in metres."""
        angle = 2 * np.pi * y / self.wavelength + self.phase
        return float(self.amplitude * (np.sin(angle) - np.sin(self.phase)))

    @cached_property
    def by_row(self) -> Field:
        """Return x of the centre line at every grid row, (ROWS,), in metres."""
        y = Y_MIN + (np.arange(ROWS) + 0.5) * CELL
        angle = 2 * np.pi * y / self.wavelength + self.phase
        return (self.amplitude * (np.sin(angle) - np.sin(self.phase))).astype(np.float32)


@dataclass(frozen=True)
class Terrain:
    """A painted ground.

    Attributes:
        surface: (ROWS, COLUMNS) uint8, a `Surface` in every cell.
        bend: the path's centre line.
        left: u of the built strip's left edge; trees and ponds stay outside.
        right: u of its right edge.
        curb_height: metres.
    """

    surface: NDArray[np.uint8]
    bend: Bend
    left: float
    right: float
    curb_height: float

    @cached_property
    def has_curb(self) -> bool:
        """Whether any cell is a curb; without one the renderer skips the search for its raised face."""
        return bool((self.surface == Surface.CURB).any())

    def to_path(self, x: Field, y: Field) -> tuple[Field, NDArray[np.int32]]:
        """World points to path coordinates: u in metres, and the grid rows of y."""
        rows = rows_of(y)
        return x - self.bend.by_row.take(rows), rows

    def surface_at(self, u: float, y: float) -> Surface:
        """The surface at one point in path coordinates."""
        return Surface(int(self.surface[min(row_of(y), ROWS - 1), min(column_of(u), COLUMNS - 1)]))
