"""Colours of ids, whatever the classes are called: the palette of the label images that stages pass on.

Ids are apart from colours of classes (`wildseg.core.colours`), so that another colour changes no byte of a mask.
"""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np

from wildseg.core.classes import IGNORE


@cache
def id_palette() -> np.ndarray:
    """Return colours by id: (256, 3) uint8 RGB, background black, 255 nearly white; it cannot be written to.

    Hues advance by the golden angle, so that neighbouring ids are far apart; lightness alternates.
    """
    colours = np.zeros((256, 3), np.uint8)
    for index in range(1, 255):
        hue = (index * 0.6180339887) % 1.0
        value = (0.95, 0.70, 0.50)[index % 3]
        saturation = (0.85, 0.60)[index % 2]
        colours[index] = [round(channel * 255) for channel in colorsys.hsv_to_rgb(hue, saturation, value)]
    colours[IGNORE] = (245, 245, 240)
    colours.flags.writeable = False
    return colours
