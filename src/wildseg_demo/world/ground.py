"""What a ray that points down hits, and the colour it sees there: one small painter per surface."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wildseg_demo.world.appearance import Appearance
from wildseg_demo.world.camera import Pose
from wildseg_demo.world.noise import Field, lookup, tiles
from wildseg_demo.world.sky import sky_colours, skyline
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.terrain import Terrain, cells_of

_FARTHEST = 400.0  # metres; rays close to the horizon end here
_CURB_RANGE = 24.0  # metres beyond which a curb's height is less than a pixel
_CURB_STEPS = (1.0, 0.85, 0.7, 0.5, 0.35, 0.15)  # heights, as shares of the curb's, at which rays are tested against it
_MORTAR = 0.024  # metres


@dataclass(frozen=True)
class Hits:
    """Where N rays meet the ground.

    Attributes:
        surface: (N,) uint8 ids.
        u: (N,) lateral path coordinate in metres.
        y: (N,) forward coordinate in metres.
        rows: (N,) grid rows of y.
        distance: (N,) metres to the camera, measured along the ground.
        on_face: (N,) whether the ray met the upright face of a curb.
        azimuth: (N,) radians.
        dip: (N,) tangent of the angle below the horizon.
    """

    surface: NDArray[np.uint8]
    u: Field
    y: Field
    rows: NDArray[np.int32]
    distance: Field
    on_face: NDArray[np.bool_]
    azimuth: Field
    dip: Field

    def only(self, chosen: NDArray[np.intp]) -> "Hits":
        """The hits at the given indices."""
        return Hits(**{name: values[chosen] for name, values in vars(self).items()})


def hit_ground(terrain: Terrain, pose: Pose, east: Field, north: Field, up: Field) -> Hits:
    """Follow rays (N,) that point down to the ground or to a curb that stands in their way."""
    level = np.hypot(east, north)
    reach = np.minimum(np.float32(pose.z) / -up, np.float32(_FARTHEST))  # in ray lengths
    x, y = np.float32(pose.x) + reach * east, np.float32(pose.y) + reach * north
    u, rows = terrain.to_path(x, y)
    surface = terrain.surface.take(cells_of(rows, u))
    on_face = np.zeros(surface.shape, bool)
    distance = reach * level
    if terrain.has_curb:
        near = np.flatnonzero(distance < _CURB_RANGE)
        for step in _CURB_STEPS:
            shorter = (np.float32(pose.z - step * terrain.curb_height)) / -up[near]
            u_there, rows_there = terrain.to_path(
                np.float32(pose.x) + shorter * east[near], np.float32(pose.y) + shorter * north[near]
            )
            blocked = terrain.surface.take(cells_of(rows_there, u_there)) == Surface.CURB
            met = near[blocked]
            surface[met] = Surface.CURB
            on_face[met] = step < 1.0
            near = near[~blocked]
    return Hits(surface, u, y, rows, distance, on_face, np.arctan2(east, north), -up / level)


def shade_ground(hits: Hits, shadow: NDArray[np.uint8], appearance: Appearance) -> Field:
    """Colours of ground hits, (N, 3) RGB: texture, tree shadows, haze."""
    colours = np.empty((len(hits.surface), 3), np.float32)
    for surface, paint in _PAINTERS.items():
        chosen = np.flatnonzero(hits.surface == surface)
        if chosen.size:
            colours[chosen] = paint(_Texture(hits.only(chosen), appearance))
    shaded = shadow.take(cells_of(hits.rows, hits.u)) * np.float32(appearance.shade / 255)
    shaded[hits.surface == Surface.WATER] *= np.float32(0.3)  # water mirrors the sky rather than the sun
    mist = (1 - np.exp(-appearance.haze * hits.distance))[:, None]
    return colours * (1 - shaded)[:, None] * (1 - mist) + appearance.horizon * mist


class _Texture:
    """Hits on one surface with the noise that its painter asks for."""

    def __init__(self, hits: Hits, appearance: Appearance) -> None:
        self.hits, self.appearance = hits, appearance
        # Far texture is finer than a pixel; fading it out stands in for proper filtering.
        self.fade = np.clip(6 / np.maximum(hits.distance, 0.1), 0.12, 1).astype(np.float32)

    def fine(self) -> Field:
        return self._noise(tiles().fine, 0, 0.012) * self.fade

    def medium(self) -> Field:
        return self._noise(tiles().grainy, 1, 0.02) * self.fade

    def large(self) -> Field:
        return self._noise(tiles().smooth, 2, 0.03)

    def colour(self, surface: Surface) -> Field:
        return self.appearance.colours[surface]

    def _noise(self, tile: Field, stream: int, texel: float) -> Field:
        offset = np.float32(self.appearance.offset[stream])
        return lookup(tile, self.hits.u + offset, self.hits.y + offset, texel)


def _lawn(at: _Texture) -> Field:
    large = at.large()
    gain = 1 + 0.13 * large + 0.16 * at.medium() + 0.22 * at.fine()
    dry = np.clip(large - 0.3, 0, 2)[:, None] * np.array([0.06, 0.033, 0.006], np.float32)
    return (at.colour(Surface.LAWN) + dry) * gain[:, None]


def _soil(at: _Texture) -> Field:
    gain = 1 + 0.12 * at.large() + 0.14 * at.medium() + 0.08 * at.fine()
    return at.colour(Surface.SOIL) * gain[:, None]


def _cement(at: _Texture) -> Field:
    gain = 1 + 0.06 * at.large() + 0.05 * at.medium() + 0.07 * at.fine()
    joint = np.mod(at.hits.y, np.float32(at.appearance.joint)) < 0.04
    gain[joint] *= 1 - 0.3 * at.fade[joint]
    return at.colour(Surface.CEMENT_ROAD) * gain[:, None]


def _lane_line(at: _Texture) -> Field:
    worn = np.clip(2 * (at.medium() + 0.4 * at.large() - 1.3), 0, 0.6)[:, None]
    paint = at.colour(Surface.LANE_LINE) * (1 - worn) + at.colour(Surface.CEMENT_ROAD) * worn
    return paint * (1 + 0.05 * at.fine())[:, None]


def _curb(at: _Texture) -> Field:
    gain = 1 + 0.05 * at.medium() + 0.05 * at.fine()
    gain[np.mod(at.hits.y, np.float32(1.0)) < 0.025] *= 0.75  # curb stones are a metre long
    gain[at.hits.on_face] *= 0.72
    return at.colour(Surface.CURB) * gain[:, None]


def _bricks(at: _Texture, surface: Surface, along: float, across: float) -> Field:
    """Running bond: every other row is shifted by half a brick."""
    row = np.floor(at.hits.y / np.float32(across))
    shifted = at.hits.u + np.mod(row, 2) * np.float32(along / 2)
    column = np.floor(shifted / np.float32(along))
    in_mortar = (at.hits.y - row * np.float32(across) < _MORTAR) | (shifted - column * np.float32(along) < _MORTAR)
    own = lookup(tiles().fine, row * 7, column * 13, 1.0)  # one value per brick
    gain = 1 + 0.1 * own * at.fade + 0.05 * at.fine() + 0.05 * at.large()
    gain[in_mortar] *= 1 - 0.35 * at.fade[in_mortar]
    return at.colour(surface) * gain[:, None]


def _red_bricks(at: _Texture) -> Field:
    return _bricks(at, Surface.RED_BRICK_PATH, *at.appearance.brick)


def _yellow_bricks(at: _Texture) -> Field:
    return _bricks(at, Surface.YELLOW_BRICK_PATH, *at.appearance.brick[::-1])


def _water(at: _Texture) -> Field:
    """Mirrored sky and far trees, broken by ripples; the steeper the view, the more of the bottom."""
    ripples = lookup(tiles().lumpy, at.hits.u, at.hits.y * np.float32(0.5), 0.02)
    mirrored = at.hits.dip + 0.02 * ripples * at.fade
    reflection = sky_colours(mirrored, at.appearance)
    trees = mirrored < skyline(at.hits.azimuth, at.appearance) + 0.06
    reflection[trees] = at.colour(Surface.TREE) * 1.3 + 0.1 * at.appearance.horizon
    sine = at.hits.dip / np.sqrt(1 + at.hits.dip**2)
    mirror = np.clip(1.05 - 1.4 * sine, 0.15, 0.9)[:, None]
    return (at.colour(Surface.WATER) * (1 - mirror) + reflection * mirror) * (1 + 0.05 * ripples)[:, None]


_PAINTERS = {
    Surface.CEMENT_ROAD: _cement,
    Surface.LANE_LINE: _lane_line,
    Surface.CURB: _curb,
    Surface.RED_BRICK_PATH: _red_bricks,
    Surface.YELLOW_BRICK_PATH: _yellow_bricks,
    Surface.SOIL: _soil,
    Surface.LAWN: _lawn,
    Surface.WATER: _water,
}
