"""Points of a class at the maxima of its map, and points of background where all maps are low."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from wildseg.crf.weak.regions import regions

SIGMA = 0.01  # of the Gaussian that smoothes maps, in diagonals of the frame
APART = 0.05  # minimum distance between two points of a class, in diagonals
HIGH = 0.8  # lower limit of a local maximum that is not that of its region
LOWEST = 0.1  # share of the pixels, of lowest evidence, among which background points are drawn


def foreground(heat: np.ndarray, count: int, tau: float, min_area: float, min_share: float) -> np.ndarray:
    """Return at most `count` points of one class, (m, 2) int: x, y.

    Of the smoothed map: the maximum of each region, then other local maxima above 0.8, each in falling order; a point
    closer than 0.05 diagonals to an earlier one is skipped.

    Args:
        heat: (H, W) in [0, 1], the activation map of the class.
        count: maximum number of points.
        tau: threshold of the map; its connected components are the regions.
        min_area: minimum area of a region as a share of the frame.
        min_share: minimum area as a share of the class's largest region.
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

    They are random, at least 0.05 diagonals apart, among the tenth of the pixels with the lowest maximum over all maps,
    where it is below `limit`.

    Args:
        maps: (K, H, W) in [0, 1], the maps of all classes; with K = 0 every pixel is background.
        count: maximum number of points.
        limit: upper limit of all maps at a point.
        rng: of the drawing.
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
    """Return greedily, in order, those of `places` (n, 2) at least `apart` from all chosen: (m, 2), at most `count`."""
    chosen: list[np.ndarray] = []
    while len(places) and len(chosen) < count:
        chosen.append(places[0])
        places = places[np.hypot(*(places - places[0]).T) >= max(apart, 1)]
    return np.array(chosen, int).reshape(len(chosen), 2)
