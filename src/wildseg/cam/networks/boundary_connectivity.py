"""Saliency without training, by boundary connectivity (Zhu et al. 2014, CVPR).

"Saliency Optimization from Robust Background Detection", sections 3 and 4. A region of the background is connected to
much of the image's boundary, at small differences of colour; an object that touches the boundary is not. The image is
divided into some 400 patches in place of the paper's superpixels, each with its mean colour in CIE Lab. With ``d_app``
the distance of two colours, ``d_spa`` that of two places, image sides counting 1, ``d_geo`` the shortest path over
neighbours by ``d_app``, all boundary patches being neighbours, and
``S(p, i) = exp(-d_geo(p, i)^2 / (2 sigma_clr^2))``:

    BndCon(p) = sum_(i on the boundary) S(p, i) / sqrt(sum_i S(p, i))                             (equations 3 to 6)
    w_bg(p)   = 1 - exp(-BndCon(p)^2 / (2 sigma_bnd^2))                                           (equation 9)
    w_fg(p)   = sum_i d_app(p, i) exp(-d_spa(p, i)^2 / (2 sigma_spa^2)) w_bg(i), to [0, 1]        (equation 8)
    s         = argmin sum_p w_bg(p) s_p^2 + w_fg(p) (s_p - 1)^2 + sum_(neighbours) w_pq (s_p - s_q)^2      (10)
    w_pq      = exp(-d_app(p, q)^2 / (2 sigma_clr^2)) + mu                                        (11)
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy.sparse.csgraph import csgraph_from_dense, dijkstra

PATCHES = 400
SIGMA_CLR = 10.0  # in Lab
SIGMA_BND = 1.0
SIGMA_SPA = 0.25
MU = 0.1


def boundary_saliency(image: np.ndarray) -> np.ndarray:
    """Return the saliency of an image: (H, W) float32 in [0, 1], smooth, the most salient patch 1; 0 for one colour.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    rows, columns = grid_of(height, width)
    mean = cv2.resize(image.astype(np.float32) / 255, (columns, rows), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(mean, cv2.COLOR_RGB2LAB)
    found = patch_saliency(lab.astype(np.float64)).astype(np.float32)
    return np.clip(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of nearly square patches, about 400 in all, at most one for each pixel."""
    rows = min(height, max(1, round(math.sqrt(PATCHES * height / width))))
    return rows, min(width, max(1, round(PATCHES / rows)))


def patch_saliency(lab: np.ndarray) -> np.ndarray:
    """Return the saliency (r, c) float64 in [0, 1] of patches of colours (r, c, 3) in CIE Lab; the highest is 1."""
    rows, columns = lab.shape[:2]
    colours = lab.reshape(-1, 3)
    colour = _distances(colours)
    y, x = np.divmod(np.arange(rows * columns), columns)
    beside = (abs(y[:, None] - y) <= 1) & (abs(x[:, None] - x) <= 1) & ~np.eye(len(y), dtype=bool)  # 8 neighbours
    boundary = (y == 0) | (x == 0) | (y == rows - 1) | (x == columns - 1)
    background = background_weights(colour, beside, boundary)
    places = np.stack([(y + 0.5) / rows, (x + 0.5) / columns], 1)
    near = np.exp(-(_distances(places) ** 2) / (2 * SIGMA_SPA**2))
    foreground = _stretched((colour * near) @ background)
    edges = np.where(beside, np.exp(-(colour**2) / (2 * SIGMA_CLR**2)) + MU, 0)
    return _optimum(background, foreground, edges).reshape(rows, columns)


def background_weights(colour: np.ndarray, beside: np.ndarray, boundary: np.ndarray) -> np.ndarray:
    """Return w_bg (N,) in [0, 1): how surely a patch is background, by its boundary connectivity.

    Args:
        colour: (N, N) distances d_app.
        beside: (N, N) bool, which patches are neighbours.
        boundary: (N,) bool, which patches lie on the image's boundary.
    """
    edges = beside | (boundary[:, None] & boundary[None])
    # Infinity is no edge: an edge of length 0, between equal colours, is one.
    geodesic = dijkstra(csgraph_from_dense(np.where(edges, colour, np.inf), null_value=np.inf), directed=False)
    similar = np.exp(-(geodesic**2) / (2 * SIGMA_CLR**2))
    connectivity = similar[:, boundary].sum(1) / np.sqrt(similar.sum(1))
    return 1 - np.exp(-(connectivity**2) / (2 * SIGMA_BND**2))


def _optimum(background: np.ndarray, foreground: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the minimum of equation 10: (diag(w_bg + w_fg) + D - W) s = w_fg, the highest value divided out."""
    system = np.diag(background + foreground + edges.sum(1)) - edges
    found = np.linalg.solve(system, foreground)
    return found / found.max() if foreground.any() else np.zeros_like(found)


def _distances(points: np.ndarray) -> np.ndarray:
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(2))


def _stretched(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
