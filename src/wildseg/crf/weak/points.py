"""Points that stand for a class, as a person would click them: where its map is highest, and where no map is."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wildseg.crf.weak.regions import regions

SIGMA = 0.01  # of the Gaussian that smoothes maps, in diagonals of the frame
APART = 0.05  # the least distance between two points of a class, in diagonals
HIGH = 0.8  # of a local maximum that is not the highest of its region
LOWEST = 0.1  # share of the pixels, those of the lowest evidence, that background points are drawn from


def foreground(heat: np.ndarray, count: int, tau: float, min_area: float, min_share: float) -> np.ndarray:
    """Return at most `count` points of one class, (m, 2) int: x, y.

    The map is smoothed. First comes the highest place of each region, then what other local maxima are above 0.8, each
    in the order of their height; one that is nearer than 0.05 diagonals to an earlier one is left out.

    Args:
        heat: (H, W) in [0, 1], the map of a class.
        count: how many points there may be.
        tau: a region is where the map is above this.
        min_area: share of the frame that a region must have at least.
        min_share: share of the class's largest region that it must have at least.
    """
    length = _diagonal(heat)
    smooth = ndimage.gaussian_filter(heat.astype(np.float64), SIGMA * length, mode="nearest")
    peaks = [
        np.add(
            np.unravel_index(np.where(at.pixels, at.within(smooth), -1).argmax(), at.pixels.shape),
            (at.rows.start, at.columns.start),
        )
        for at in regions(heat > tau, min_area, min_share)
    ]
    tops = (smooth > HIGH) & (smooth == ndimage.maximum_filter(smooth, 3, mode="nearest"))
    order = [*_highest_first(np.array(peaks, int).reshape(-1, 2), smooth), *_highest_first(np.argwhere(tops), smooth)]
    return _spread(np.array(order, int).reshape(-1, 2), count, APART * length)[:, ::-1]


def background(maps: np.ndarray, count: int, limit: float, rng: np.random.Generator) -> np.ndarray:
    """Return at most `count` points of background, (m, 2) int: x, y.

    They are drawn at random among the tenth of the pixels of which the largest map is lowest, and which are below
    `limit`, at least 0.05 diagonals from each other.

    Args:
        maps: (K, H, W) in [0, 1], the maps of all classes; K may be 0, and every pixel is background then.
        count: how many points there may be.
        limit: the largest value that a map may have at such a point.
        rng: what they are drawn with.
    """
    evidence = maps.max(0, initial=0)
    cut = np.quantile(evidence, LOWEST, method="lower")
    places = np.argwhere((evidence <= cut) & (evidence < limit))
    return _spread(rng.permutation(places), count, APART * _diagonal(evidence))[:, ::-1]


def _diagonal(image: np.ndarray) -> float:
    return float(np.hypot(*image.shape))


def _highest_first(places: np.ndarray, heat: np.ndarray) -> np.ndarray:
    return places[np.argsort(-heat[places[:, 0], places[:, 1]], kind="stable")]


def _spread(places: np.ndarray, count: int, apart: float) -> np.ndarray:
    """Return of places (n, 2) the first, the next that is `apart` from it, and so on: (m, 2), at most `count`."""
    chosen: list[np.ndarray] = []
    while len(places) and len(chosen) < count:
        chosen.append(places[0])
        places = places[np.hypot(*(places - places[0]).T) >= max(apart, 1)]
    return np.array(chosen, int).reshape(len(chosen), 2)
