"""Confidence-weighted propagation: published numbers, identities of the system, and a direct solver."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from wildseg.cam import propagation
from wildseg.cam.propagation import data_term, edge_weights, laplacian, luma, propagate, softmax

# Two classes in a row of four pixels, with one edge between the second and the third; kappa 5, tau 1.
ROW = np.array([[[0.9, 0.8, 0.3, 0.1]], [[0.1, 0.2, 0.7, 0.9]]])
GREY = np.array([[10.0, 12.0, 90.0, 91.0]])


def noise(height: int = 30, width: int = 40, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Maps (K, h, w) in [0, 1] and grey levels (h, w), both random."""
    generator = np.random.default_rng(0)
    return generator.random((classes, height, width)), generator.random((height, width)) * 255


def matrix(maps: np.ndarray, grey: np.ndarray, kappa: float, tau: float) -> tuple[sparse.csc_array, np.ndarray]:
    """The system written out pixel by pixel, and its data term (n,)."""
    classes, height, width = maps.shape
    p = np.exp(maps) / np.exp(maps).sum(0)
    confidence, gate = np.zeros((height, width)), np.zeros((height * width, height * width))
    steps = {"right": [], "down": []}  # type: dict[str, list[float]]
    for y in range(height):
        for x in range(width):
            agreement = sum(p[c, y, x] ** 2 for c in range(classes))
            confidence[y, x] = max(*p[:, y, x], 0.05) ** 2 * (1 + agreement)
            steps["right"] += [abs(grey[y, x + 1] - grey[y, x])] if x + 1 < width else []
            steps["down"] += [abs(grey[y + 1, x] - grey[y, x])] if y + 1 < height else []
    for y in range(height):
        for x in range(width):
            for name, (v, u) in (("right", (y, x + 1)), ("down", (y + 1, x))):
                if v < height and u < width:
                    weight = np.exp(-kappa * abs(grey[v, u] - grey[y, x]) / (np.mean(steps[name]) + 1e-6))
                    weight = min(1, weight * (1 + sum(p[c, y, x] * p[c, v, u] for c in range(classes))))
                    one, other = y * width + x, v * width + u
                    gate[one, other] = gate[other, one] = weight
    whole = np.diag(confidence.ravel()) + tau * (np.diag(gate.sum(1)) - gate)
    return sparse.csc_array(whole), confidence.ravel()


def test_golden_row_of_four_pixels() -> None:
    p = softmax(ROW)
    confidence = data_term(p)
    right, down = edge_weights(GREY, p, kappa=5)
    found = propagate(ROW, GREY, kappa=5, tau=1, steps=25)
    np.testing.assert_allclose(p[0, 0], [0.689974, 0.645656, 0.401312, 0.310026], atol=1e-6)
    np.testing.assert_allclose((p**2).sum(0)[0], [0.572181, 0.542432, 0.519479, 0.572181], atol=1e-6)
    np.testing.assert_allclose(confidence[0], [0.748460, 0.642997, 0.544622, 0.748460], atol=1e-6)
    np.testing.assert_allclose(right[0], [1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(right[0, 1], 5.3e-7 * (1 + (p[:, 0, 1] * p[:, 0, 2]).sum()), rtol=0.01)
    assert down.shape == (0, 4)
    np.testing.assert_allclose(found[0, 0], [0.865665, 0.839966, 0.211983, 0.164047], atol=1e-6)
    np.testing.assert_allclose(found[1, 0], [0.134335, 0.160034, 0.788017, 0.835953], atol=1e-6)
    assert (confidence * found[0]).sum() == pytest.approx(1.426244, abs=1e-6)


def test_without_smoothing_nothing_changes() -> None:
    maps, grey = noise()
    np.testing.assert_array_equal(propagate(maps, grey, kappa=2, tau=0, steps=25), maps)


@pytest.mark.parametrize("tau", [0.3, 1, 10])
def test_the_weighted_sum_of_each_map_stays(tau: float) -> None:
    maps, grey = noise()
    confidence = data_term(softmax(maps))
    found = propagate(maps, grey, kappa=2, tau=tau, steps=400)
    np.testing.assert_allclose((confidence * found).sum((1, 2)), (confidence * maps).sum((1, 2)), rtol=1e-9)


def test_strong_smoothing_leaves_the_weighted_mean() -> None:
    maps, grey = noise(6, 7)
    confidence = data_term(softmax(maps))
    found = propagate(maps, grey, kappa=0.1, tau=1e6, steps=400)
    mean = (confidence * maps).sum((1, 2)) / confidence.sum()
    np.testing.assert_allclose(found, np.broadcast_to(mean[:, None, None], maps.shape), atol=1e-4)


def test_constant_maps_of_a_constant_image_stay() -> None:
    maps = np.full((2, 5, 6), 0.3)
    np.testing.assert_allclose(propagate(maps, np.full((5, 6), 90.0), kappa=2, tau=1, steps=25), maps, atol=1e-12)


def test_maps_stay_within_their_range() -> None:
    maps, grey = noise()
    found = propagate(maps, grey, kappa=2, tau=3, steps=400)
    assert (found.min((1, 2)) >= maps.min((1, 2)) - 1e-9).all()
    assert (found.max((1, 2)) <= maps.max((1, 2)) + 1e-9).all()


def test_25_steps_are_those_of_a_direct_solver() -> None:
    maps, grey = noise(40, 30)
    system, confidence = matrix(maps, grey, kappa=2, tau=1)
    expected = np.stack([spsolve(system, confidence * one.ravel()).reshape(one.shape) for one in maps])
    found = propagate(maps, grey, kappa=2, tau=1, steps=25)
    assert abs(found - expected).max() < 1e-3 * (maps.max() - maps.min())


def test_a_class_is_propagated_the_same_in_any_order() -> None:
    maps, grey = noise()
    found = propagate(maps, grey, kappa=2, tau=1, steps=5)
    np.testing.assert_allclose(propagate(maps[[2, 0, 1]], grey, kappa=2, tau=1, steps=5), found[[2, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_a_grid_may_be_a_single_row_or_cell(shape: tuple[int, int]) -> None:
    maps, grey = noise(*shape)
    found = propagate(maps, grey, kappa=2, tau=1, steps=25)
    assert np.isfinite(found).all()
    assert found.shape == maps.shape


def test_the_laplacian_of_a_peak_by_hand() -> None:
    peak = np.zeros((1, 3, 3))
    peak[0, 1, 1] = 1
    right, down = np.full((3, 2), 0.5), np.full((2, 3), 0.25)
    expected = [[0, -0.25, 0], [-0.5, 1.5, -0.5], [0, -0.25, 0]]
    np.testing.assert_allclose(laplacian(peak, right, down)[0], expected)


def test_grey_levels_are_those_of_television() -> None:
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_allclose(luma(image)[0], [76.245, 149.685, 29.07, 255])
    assert propagation.LUMA == (0.299, 0.587, 0.114)
