"""Five kinds of places, painted on a ground grid: street, sidewalk, park, plaza and trail."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wildseg_demo.world.noise import Field, lookup, tiles
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.terrain import CELL, COLUMNS, ROWS, U_MAX, U_MIN, Y_MAX, Y_MIN, Bend, Terrain, column_of, row_of

PAVED = (Surface.CEMENT_ROAD, Surface.RED_BRICK_PATH, Surface.YELLOW_BRICK_PATH)
NATURAL = (Surface.LAWN, Surface.SOIL)
_COARSE = 4  # ragged edges and patches need no more than one noise value per 4x4 cells


@dataclass(frozen=True)
class Dashes:
    """A broken line: `length` metres painted out of every `period`."""

    period: float
    length: float


class Painter:
    """A ground grid under construction, with the brushes that layouts use. All lengths are in metres."""

    def __init__(self, rng: np.random.Generator, base: Surface) -> None:
        """Start with `base` everywhere."""
        self.base = base
        self.surface = np.full((ROWS, COLUMNS), base, np.uint8)
        self._offset = rng.uniform(0, 400, 2)
        self._wobble = self.noise_field(0.04, self._offset)  # metres of noise once multiplied by a roughness

    def noise_field(self, texel: float, offset: NDArray[np.float64]) -> Field:
        """Smooth noise over the whole grid, (ROWS, COLUMNS), mean 0 and standard deviation 1."""
        u = np.arange(U_MIN, U_MAX, CELL * _COARSE, dtype=np.float32) + np.float32(offset[0])
        y = np.arange(Y_MIN, Y_MAX, CELL * _COARSE, dtype=np.float32) + np.float32(offset[1])
        u_grid, y_grid = np.meshgrid(u, y)
        coarse = lookup(tiles().smooth, u_grid, y_grid, texel)
        return cv2.resize(coarse, (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR)

    def patches(self, surface: Surface, texel: float, threshold: float, offset: NDArray[np.float64]) -> None:
        """Turn the ground into `surface` wherever noise exceeds `threshold`."""
        self.surface[self.noise_field(texel, offset) > threshold] = surface

    def strip(self, surface: Surface, left: float, right: float, dashes: Dashes | None = None) -> None:
        """Paint everything between two lateral positions."""
        band = self.surface[:, column_of(left) : column_of(right)]
        if dashes is None:
            band[:] = surface
        else:
            y = Y_MIN + (np.arange(ROWS) + 0.5) * CELL
            band[np.mod(y, dashes.period) < dashes.length] = surface

    def ragged_strip(self, surface: Surface, left: float, right: float, roughness: float) -> None:
        """A strip whose edges wander by about `roughness` metres."""
        reach = 4 * roughness
        window = slice(column_of(left - reach), column_of(right + reach))
        u = self._u(window) + roughness * self._wobble[:, window]
        self.surface[:, window][(u > left) & (u < right)] = surface

    def crossing(self, surface: Surface, y: float, width: float, slope: float, lined: bool, curbed: bool) -> None:
        """A band across the path, with a lane line along its middle and curbs beside it if asked for."""
        ahead = self._ahead(y, slope)
        self.surface[(ahead > 0) & (ahead < width)] = surface
        if lined:
            self.surface[np.abs(ahead - width / 2) < 0.16] = Surface.LANE_LINE
        if curbed:
            self.surface[((ahead > -0.32) & (ahead < 0)) | ((ahead > width) & (ahead < width + 0.32))] = Surface.CURB

    def resurface(self, surface: Surface, left: float, right: float, y: float, slope: float) -> None:
        """From y on, the strip between left and right gets another surface; curbs stay."""
        window = slice(column_of(left), column_of(right))
        region = self.surface[:, window]
        region[(self._ahead(y, slope)[:, window] > 0) & (region != Surface.CURB)] = surface

    def ellipse(self, surface: Surface, u: float, y: float, radius_u: float, radius_y: float, rough: float) -> None:
        """A blob with a wandering outline; curbs stay."""
        rows = slice(row_of(y - 1.8 * radius_y), row_of(y + 1.8 * radius_y))
        columns = slice(column_of(u - 1.8 * radius_u), column_of(u + 1.8 * radius_u))
        du = (self._u(columns) - u) / radius_u
        dy = (Y_MIN + (np.arange(rows.start, rows.stop) + 0.5) * CELL - y)[:, None] / radius_y
        region = self.surface[rows, columns]
        inside = du**2 + dy**2 + rough * self._wobble[rows, columns] < 1
        region[inside & (region != Surface.CURB)] = surface

    def _u(self, columns: slice) -> Field:
        return (U_MIN + (np.arange(columns.start, columns.stop) + 0.5) * CELL).astype(np.float32)

    def _ahead(self, y: float, slope: float) -> Field:
        """Metres beyond an oblique line across the path, (ROWS, COLUMNS)."""
        forward = (Y_MIN + (np.arange(ROWS, dtype=np.float32) + 0.5) * CELL - y)[:, None]
        return forward - slope * self._u(slice(0, COLUMNS))[None, :]


Edges = tuple[float, float]
Rng = np.random.Generator


def _choose(rng: Rng, options: tuple[Surface, ...], weights: tuple[float, ...]) -> Surface:
    return options[int(rng.choice(len(options), p=weights))]


def _lane_width(rng: Rng) -> float:
    """Lines, and curbs too, are wider than on most roads: thinner ones are lost between 8-pixel patches."""
    return float(rng.uniform(0.28, 0.34))


def _maybe_dashes(rng: Rng, chance: float) -> Dashes | None:
    dashes = Dashes(float(rng.uniform(2.5, 4.0)), float(rng.uniform(1.3, 2.2)))
    return dashes if rng.random() < chance else None


def street(painter: Painter, rng: Rng) -> Edges:
    """The robot drives on a cement road with curbs and sidewalks."""
    centre, half, curb = rng.uniform(-1.5, 1.5), rng.uniform(2.2, 3.6), rng.uniform(0.28, 0.4)
    walk = rng.uniform(0.8, 2.2)
    left, right = centre - half, centre + half
    beside = (Surface.RED_BRICK_PATH, Surface.YELLOW_BRICK_PATH, painter.base, Surface.CEMENT_ROAD)
    for inner, outer in ((left - curb, left - curb - walk), (right + curb, right + curb + walk)):
        painter.strip(_choose(rng, beside, (0.4, 0.35, 0.15, 0.1)), min(inner, outer), max(inner, outer))
    painter.strip(Surface.CEMENT_ROAD, left, right)
    painter.strip(Surface.CURB, left - curb, left)
    painter.strip(Surface.CURB, right, right + curb)
    line = _lane_width(rng)
    if rng.random() < 0.9:
        painter.strip(Surface.LANE_LINE, centre - line / 2, centre + line / 2, _maybe_dashes(rng, 0.6))
    if rng.random() < 0.45:
        painter.strip(Surface.LANE_LINE, left + 0.25, left + 0.25 + line)
    if rng.random() < 0.45:
        painter.strip(Surface.LANE_LINE, right - 0.25 - line, right - 0.25)
    return left - curb - walk, right + curb + walk


def sidewalk(painter: Painter, rng: Rng) -> Edges:
    """The robot drives on bricks beside a street."""
    half, curb, road = rng.uniform(0.8, 1.5), rng.uniform(0.28, 0.4), rng.uniform(4, 7)
    bricks = rng.permutation([Surface.RED_BRICK_PATH, Surface.YELLOW_BRICK_PATH])
    line, side = _lane_width(rng), float(rng.choice([-1, 1]))

    def strip(surface: Surface, inner: float, outer: float, dashes: Dashes | None = None) -> None:
        left, right = sorted((side * inner, side * outer))
        painter.strip(surface, left, right, dashes)

    strip(bricks[0], -half, half)
    strip(Surface.CURB, half, half + curb)
    strip(Surface.CEMENT_ROAD, half + curb, half + curb + road)
    middle = half + curb + road / 2
    if rng.random() < 0.85:
        strip(Surface.LANE_LINE, middle - line / 2, middle + line / 2, _maybe_dashes(rng, 0.5))
    if rng.random() < 0.5:
        strip(Surface.LANE_LINE, half + curb + 0.25, half + curb + 0.25 + line)
    if rng.random() < 0.5:
        strip(bricks[1], -0.35, 0.05)
    return (-half, half + curb + road) if side > 0 else (-half - curb - road, half)


def park(painter: Painter, rng: Rng) -> Edges:
    """A paved path through natural ground, some with curbs and a strip of bare soil."""
    half = float(rng.uniform(0.9, 1.7))
    painter.strip(_choose(rng, PAVED, (0.15, 0.45, 0.4)), -half, half)
    if rng.random() < 0.5:
        curb = float(rng.uniform(0.26, 0.38))
        painter.strip(Surface.CURB, -half - curb, -half)
        painter.strip(Surface.CURB, half, half + curb)
        half += curb
    if rng.random() < 0.4:
        painter.ragged_strip(Surface.SOIL, half + 0.1, half + rng.uniform(0.6, 1.5), 0.1)
    return -half, half


def plaza(painter: Painter, rng: Rng) -> Edges:
    """A wide path with bands of a second paving."""
    half, band = rng.uniform(1.5, 3.0), rng.uniform(0.4, 0.9)
    main, trim = rng.permutation(PAVED)[:2]
    painter.strip(main, -half, half)
    painter.strip(trim, -half, -half + band)
    painter.strip(trim, half - band, half)
    if rng.random() < 0.5:
        middle = rng.uniform(-0.6, 0.6)
        painter.strip(trim, middle - 0.3, middle + 0.3)
    if rng.random() < 0.5:
        painter.strip(Surface.CURB, -half - 0.32, -half)
        painter.strip(Surface.CURB, half, half + 0.32)
    return -half, half


def trail(painter: Painter, rng: Rng) -> Edges:
    """A ragged track of bare soil through a lawn, or a mown track through bare soil."""
    half = float(rng.uniform(0.7, 1.5))
    other = Surface.LAWN if painter.base == Surface.SOIL else Surface.SOIL
    painter.ragged_strip(other, -half, half, 0.28)
    if other == Surface.LAWN:
        painter.ragged_strip(Surface.SOIL, -half * 0.4, half * 0.4, 0.15)
    return -half, half


LAYOUTS: dict[str, Callable[[Painter, Rng], Edges]] = {
    "street": street,
    "sidewalk": sidewalk,
    "park": park,
    "plaza": plaza,
    "trail": trail,
}
_LAYOUT_WEIGHTS = (0.3, 0.21, 0.22, 0.16, 0.11)


def build_terrain(rng: Rng, layout: str | None = None) -> Terrain:
    """Paint a ground: natural base, a layout, crossings and changes of paving, ponds and puddles.

    Args:
        rng: decides everything else.
        layout: a key of `LAYOUTS`; None draws one.

    Returns:
        The ground.
    """
    bend = Bend(float(rng.uniform(0, 1.6)), float(rng.uniform(25, 60)), float(rng.uniform(0, 2 * np.pi)))
    painter = Painter(rng, _choose(rng, NATURAL, (0.72, 0.28)))
    _scatter_other_ground(painter, rng)
    drawn = str(rng.choice(list(LAYOUTS), p=_LAYOUT_WEIGHTS))
    left, right = LAYOUTS[layout or drawn](painter, rng)
    for _ in range(rng.integers(0, 3)):
        _interrupt(painter, rng, left, right)
    _add_water(painter, rng, left, right)
    return Terrain(painter.surface, bend, left, right, curb_height=float(rng.uniform(0.1, 0.2)))


def _scatter_other_ground(painter: Painter, rng: Rng) -> None:
    other = Surface.SOIL if painter.base == Surface.LAWN else Surface.LAWN
    threshold = float(rng.choice([0.9, 1.2, 1.6, 9.0], p=[0.3, 0.3, 0.2, 0.2]))
    painter.patches(other, float(rng.uniform(0.08, 0.16)), threshold, rng.uniform(0, 400, 2))


def _interrupt(painter: Painter, rng: Rng, left: float, right: float) -> None:
    """Either the paving changes from somewhere on, or another path crosses."""
    surface = _choose(rng, (*PAVED, Surface.SOIL), (0.3, 0.3, 0.27, 0.13))
    y, slope = float(rng.uniform(6, 55)), float(rng.uniform(-0.25, 0.25))
    if rng.random() < 0.4:
        painter.resurface(surface, left, right, y, slope)
    else:
        lined = surface == Surface.CEMENT_ROAD and rng.random() < 0.7
        painter.crossing(surface, y, float(rng.uniform(1.2, 3.5)), slope, lined, curbed=rng.random() < 0.5)


def _add_water(painter: Painter, rng: Rng, left: float, right: float) -> None:
    """Ponds beside the built strip and, after rain, puddles on it."""
    if rng.random() < 0.75:
        for _ in range(rng.integers(1, 4)):
            radius_u, radius_y, gap = rng.uniform(1.5, 6), rng.uniform(2, 9), rng.uniform(0.2, 2)
            centre = right + radius_u + gap if rng.random() < 0.5 else left - radius_u - gap
            painter.ellipse(Surface.WATER, centre, rng.uniform(3, 60), radius_u, radius_y, 0.12)
    if rng.random() < 0.45:
        for _ in range(rng.integers(1, 7)):
            radius = rng.uniform(0.35, 1.1)
            painter.ellipse(Surface.WATER, rng.uniform(-3, 3), rng.uniform(1, 40), radius, 1.4 * radius, 0.4)
