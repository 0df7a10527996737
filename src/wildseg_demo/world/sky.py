"""The sky with its clouds, and the line of far trees before it."""

import numpy as np

from wildseg_demo.world.look import Look
from wildseg_demo.world.noise import Field, lookup, tiles
from wildseg_demo.world.surfaces import Surface


def sky_colours(elevation: Field, look: Look) -> Field:
    """Clear sky, (N, 3) RGB, for ray elevations (N,) given as tangents."""
    upward = np.clip(2 * elevation, 0, 1)[:, None]
    return look.horizon * (1 - upward) + look.zenith * upward


def clouded_sky(azimuth: Field, elevation: Field, look: Look) -> Field:
    """Sky with clouds on a layer overhead, (N, 3) RGB, for ray directions (N,) in radians and tangents."""
    # The layer is seen in perspective; 0.15 keeps it from running to infinity at the horizon.
    distance = 1 / (elevation + np.float32(0.15))
    across = distance * np.sin(azimuth) + np.float32(look.offset[4])
    ahead = distance * np.cos(azimuth) + np.float32(look.offset[5])
    shape = lookup(tiles().smooth, across, ahead, 0.02)
    cover = np.clip(0.6 * shape + look.clouds - 0.15, 0, 1) * np.float32(1.2 * look.clouds)
    white = np.float32(0.35) * look.horizon + np.float32(0.62)
    return sky_colours(elevation, look) * (1 - cover[:, None]) + white * cover[:, None]


def skyline(azimuth: Field, look: Look) -> Field:
    """Elevation (tangent) up to which far trees hide the sky, shape of azimuth (radians)."""
    turn = azimuth * np.float32(1 / (2 * np.pi)) + np.float32(look.offset[6])
    row = np.zeros_like(turn)
    hills = lookup(tiles().smooth, turn, row, 1 / 900)
    tops = lookup(tiles().grainy, turn, row, 1 / 2400)
    return np.float32(look.skyline) + np.float32(look.skyline_relief) * (hills + np.float32(0.3) * tops)


def far_trees(azimuth: Field, elevation: Field, look: Look) -> Field:
    """Colours of the far tree line, (N, 3) RGB."""
    grain = lookup(tiles().lumpy, azimuth + 9, elevation + 3, 1 / 900)
    misty = look.colours[Surface.TREE] + np.float32(0.22) * look.horizon
    return misty * (1 + np.float32(0.22) * grain[:, None])
