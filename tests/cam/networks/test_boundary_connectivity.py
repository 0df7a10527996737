"""Boundary connectivity against the paper's equations as plain loops, and on images whose object is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from wildseg.cam.networks.boundary_connectivity import (
    background_weights,
    boundary_saliency,
    grid_of,
    patch_saliency,
)

Place = tuple[int, int]


def loops(lab: np.ndarray) -> dict[Place, float]:
    """Equations 3 to 11 over the patches of (r, c, 3) colours, with the minimum of equation 10 found by descent."""
    rows, columns = lab.shape[:2]
    places = list(itertools.product(range(rows), range(columns)))
    edge = [p for p in places if p[0] in (0, rows - 1) or p[1] in (0, columns - 1)]

    def colour(p: Place, q: Place) -> float:
        return math.dist(lab[p], lab[q])

    def neighbours(p: Place, q: Place) -> bool:
        return p != q and abs(p[0] - q[0]) <= 1 and abs(p[1] - q[1]) <= 1

    geodesic = {
        (p, q): 0.0 if p == q else colour(p, q) if neighbours(p, q) or (p in edge and q in edge) else math.inf
        for p in places
        for q in places
    }
    for k, p, q in itertools.product(places, places, places):  # Floyd and Warshall
        geodesic[p, q] = min(geodesic[p, q], geodesic[p, k] + geodesic[k, q])

    background, contrast = {}, {}
    for p in places:
        area = sum(math.exp(-(geodesic[p, q] ** 2) / (2 * 10**2)) for q in places)
        length = sum(math.exp(-(geodesic[p, q] ** 2) / (2 * 10**2)) for q in edge)
        background[p] = 1 - math.exp(-((length / math.sqrt(area)) ** 2) / 2)
    for p in places:
        contrast[p] = 0.0
        for q in places:
            far = math.dist((p[0] / rows, p[1] / columns), (q[0] / rows, q[1] / columns))
            contrast[p] += colour(p, q) * math.exp(-(far**2) / (2 * 0.25**2)) * background[q]
    low, high = min(contrast.values()), max(contrast.values())
    foreground = {p: (value - low) / (high - low) for p, value in contrast.items()}

    def cost(s: np.ndarray) -> float:
        at = dict(zip(places, s, strict=True))
        fits = sum(background[p] * at[p] ** 2 + foreground[p] * (at[p] - 1) ** 2 for p in places)
        pairs = [(p, q) for p, q in itertools.combinations(places, 2) if neighbours(p, q)]
        return fits + sum((math.exp(-(colour(p, q) ** 2) / (2 * 10**2)) + 0.1) * (at[p] - at[q]) ** 2 for p, q in pairs)

    found = minimize(cost, np.full(len(places), 0.5), tol=1e-10).x
    return dict(zip(places, found / found.max(), strict=True))


def colours(rows: int, columns: int, spread: float) -> np.ndarray:
    noise = np.random.default_rng(rows)
    lab = noise.normal(0, spread, (rows, columns, 3)) + [50, 0, 0]
    lab[1:3, 1:3] += [25, 10, 0]
    return lab


@pytest.mark.parametrize(("rows", "columns", "spread"), [(4, 4, 3.0), (3, 5, 8.0)])
def test_it_is_that_of_the_equations(rows: int, columns: int, spread: float) -> None:
    lab = colours(rows, columns, spread)
    found = patch_saliency(lab)
    for place, wanted in loops(lab).items():
        assert found[place] == pytest.approx(wanted, abs=1e-5)


def test_equal_colours_are_at_no_distance() -> None:
    # A row of three patches, the first and last of them on the boundary: of one colour, all are one region.
    beside = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    boundary = np.array([True, False, True])
    weights = background_weights(np.zeros((3, 3)), beside, boundary)
    assert weights == pytest.approx(1 - math.exp(-((2 / math.sqrt(3)) ** 2) / 2))


def test_an_object_before_a_background_is_salient() -> None:
    y, x = np.mgrid[:90, :120]
    disc = (y - 50) ** 2 + (x - 70) ** 2 < 20**2
    image = np.where(disc[..., None], np.uint8([200, 60, 40]), np.uint8([60, 140, 60]))
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    found = boundary_saliency(noisy)
    assert found.dtype == np.float32
    assert found.shape == (90, 120)
    assert 0 <= found.min() <= found.max() <= 1
    assert found[disc].mean() > 0.8
    assert found[~disc].mean() < 0.1


def test_an_object_that_touches_the_boundary_still_is() -> None:
    image = np.full((96, 96, 3), (60, 140, 60), np.uint8)
    image[56:, 32:64] = (200, 60, 40)
    found = boundary_saliency(image)
    assert found[60:92, 36:60].min() > 0.6
    assert found[:40].max() < 0.2


def test_one_colour_has_no_saliency() -> None:
    assert (boundary_saliency(np.full((30, 40, 3), 77, np.uint8)) == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2), (200, 1), (37, 53)])
def test_images_of_any_size_have_one(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = boundary_saliency(image)
    assert found.shape == shape
    assert np.isfinite(found).all()


def test_patches_are_nearly_square_and_about_400() -> None:
    assert grid_of(480, 640) == (17, 24)
    assert grid_of(1080, 1920) == (15, 27)
    assert grid_of(5, 1000) == (1, 400)
    assert grid_of(3, 3) == (3, 3)
