"""The sky with its clouds, and the line of far trees before it."""

import numpy as np

from wildseg_demo.world.appearance import Appearance
from wildseg_demo.world.noise import Field, lookup, tiles
from wildseg_demo.world.surfaces import Surface


def sky_colours(elevation: Field, appearance: Appearance) -> Field:
    """Clear sky, (N, 3) RGB, for ray elevations (N,) given as tangents."""
    upward = np.clip(2 * elevation, 0, 1)[:, None]
    return appearance.horizon * (1 - upward) + appearance.zenith * upward


def clouded_sky(azimuth: Field, elevation: Field, appearance: Appearance) -> Field:
    """Sky with clouds on a layer overhead, (N, 3) RGB, for ray directions (N,) in radians and tangents."""
    # The layer is seen in perspective; 0.15 keeps it from running to infinity at the horizon.
    distance = 1 / (elevation + np.float32(0.15))
    across = distance * np.sin(azimuth) + np.float32(appearance.offset[4])
    ahead = distance * np.cos(azimuth) + np.float32(appearance.offset[5])
    shape = lookup(tiles().smooth, across, ahead, 0.02)
    cover = np.clip(0.6 * shape + appearance.clouds - 0.15, 0, 1) * np.float32(1.2 * appearance.clouds)
    white = np.float32(0.35) * appearance.horizon + np.float32(0.62)
    return sky_colours(elevation, appearance) * (1 - cover[:, None]) + white * cover[:, None]


def skyline(azimuth: Field, appearance: Appearance) -> Field:
    """Elevation (tangent) up to which far trees hide the sky, shape of azimuth (radians)."""
    turn = azimuth * np.float32(1 / (2 * np.pi)) + np.float32(appearance.offset[6])
    row = np.zeros_like(turn)
    hills = lookup(tiles().smooth, turn, row, 1 / 900)
    tops = lookup(tiles().grainy, turn, row, 1 / 2400)
    return np.float32(appearance.skyline) + np.float32(appearance.skyline_relief) * (hills + np.float32(0.3) * tops)


def far_trees(azimuth: Field, elevation: Field, appearance: Appearance) -> Field:
    """Colours of the far tree line, (N, 3) RGB."""
    grain = lookup(tiles().lumpy, azimuth + 9, elevation + 3, 1 / 900)
    misty = appearance.colours[Surface.TREE] + np.float32(0.22) * appearance.horizon
    return misty * (1 + np.float32(0.22) * grain[:, None])
