"""The appearance of a world: colours, light, weather. Jittered so widely that classes overlap in colour."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wildseg_demo.world.noise import Field
from wildseg_demo.world.surfaces import Surface

# Typical colours, RGB in [0, 1]; a surface that comes in several kinds draws one of them per world.
_TYPICAL: dict[Surface, tuple[tuple[float, float, float], ...]] = {
    Surface.SKY: ((0.5, 0.7, 0.95),),
    Surface.TREE: ((0.13, 0.26, 0.09), (0.20, 0.28, 0.08)),
    Surface.CEMENT_ROAD: ((0.46, 0.46, 0.46), (0.54, 0.53, 0.50), (0.36, 0.36, 0.38)),
    Surface.LANE_LINE: ((0.88, 0.88, 0.85), (0.88, 0.88, 0.85), (0.85, 0.68, 0.18)),
    Surface.CURB: ((0.66, 0.65, 0.62), (0.60, 0.60, 0.60)),
    Surface.RED_BRICK_PATH: ((0.56, 0.27, 0.21), (0.48, 0.25, 0.22)),
    Surface.YELLOW_BRICK_PATH: ((0.78, 0.64, 0.30), (0.74, 0.61, 0.34)),
    Surface.SOIL: ((0.42, 0.32, 0.24), (0.52, 0.42, 0.34), (0.36, 0.28, 0.21)),
    Surface.LAWN: ((0.27, 0.42, 0.14), (0.38, 0.45, 0.17), (0.48, 0.46, 0.22)),
    Surface.WATER: ((0.22, 0.32, 0.36), (0.26, 0.28, 0.24)),
}
_CLEAR_SKY = ((0.62, 0.74, 0.90), (0.34, 0.54, 0.86))  # at the horizon, overhead
_GREY_SKY = ((0.82, 0.83, 0.85), (0.66, 0.69, 0.74))


@dataclass(frozen=True)
class Appearance:
    """Everything about a world that is not geometry.

    Attributes:
        colours: (11, 3) float32 RGB in [0, 1], indexed by surface id (row 0 unused).
        horizon: (3,) sky colour at the horizon, also the colour of haze.
        zenith: (3,) sky colour overhead.
        clouds: 0 (none) to 0.6.
        brick: (length, width) of a red brick in metres; yellow ones lie the other way round.
        joint: metres between the joints of a cement road.
        sunny: whether trees throw shadows.
        sun_azimuth: radians, direction in which shadows fall.
        sun_elevation: radians.
        shade: share of light that a shadow takes, 0 to 1.
        haze: per metre.
        skyline: mean elevation of the far tree line, as a tangent.
        skyline_relief: standard deviation of it.
        exposure: brightness factor.
        white_balance: (3,) factors.
        sensor_noise: standard deviation, in units of full scale.
        offset: (8,) where this world samples textures.
    """

    colours: Field
    horizon: Field
    zenith: Field
    clouds: float
    brick: tuple[float, float]
    joint: float
    sunny: bool
    sun_azimuth: float
    sun_elevation: float
    shade: float
    haze: float
    skyline: float
    skyline_relief: float
    exposure: float
    white_balance: Field
    sensor_noise: float
    offset: NDArray[np.float64]


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Draw colours, light and weather of a world."""
    colours = np.zeros((len(Surface) + 1, 3), np.float32)
    for surface, kinds in _TYPICAL.items():
        colours[surface] = _jitter(rng, kinds[int(rng.integers(len(kinds)))], 0.022)
    sky = _CLEAR_SKY if rng.random() < 0.7 else _GREY_SKY
    return Appearance(
        colours=colours,
        horizon=_jitter(rng, sky[0], 0.02),
        zenith=_jitter(rng, sky[1], 0.02),
        clouds=float(rng.uniform(0, 0.6)),
        brick=(float(rng.uniform(0.2, 0.36)), float(rng.uniform(0.11, 0.2))),
        joint=float(rng.uniform(2, 4)),
        sunny=bool(rng.random() < 0.65),
        sun_azimuth=float(rng.uniform(0, 2 * np.pi)),
        sun_elevation=float(rng.uniform(0.5, 1.3)),
        shade=float(rng.uniform(0.35, 0.6)),
        haze=float(rng.uniform(0, 0.025)),
        skyline=float(rng.uniform(-0.01, 0.1)),
        skyline_relief=float(rng.uniform(0.01, 0.04)),
        exposure=float(rng.uniform(0.75, 1.2)),
        white_balance=(1 + rng.normal(0, 0.035, 3)).astype(np.float32),
        sensor_noise=float(rng.uniform(0.006, 0.025)),
        offset=rng.uniform(0, 400, 8),
    )


def _jitter(rng: np.random.Generator, colour: tuple[float, float, float], spread: float) -> Field:
    """The colour, brighter or darker by up to 15 % and off by `spread` in every channel."""
    jittered = np.array(colour) * rng.uniform(0.85, 1.15) + rng.normal(0, spread, 3)
    return np.clip(jittered, 0.03, 0.97).astype(np.float32)
