"""Pixel-adaptive refinement: loops written out, fixed points, and ranges."""

from __future__ import annotations

from statistics import stdev

import numpy as np
import pytest

from wildseg.cam.pixel_adaptive import kernel, refine


def image(height: int = 7, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def by_hand(picture: np.ndarray, maps: np.ndarray, dilations: tuple[int, ...]) -> np.ndarray:
    """One step, pixel by pixel."""
    height, width = picture.shape[:2]
    values, result = picture.astype(float), np.zeros(maps.shape)
    for y in range(height):
        for x in range(width):
            around = [
                (min(max(y + d * dy, 0), height - 1), min(max(x + d * dx, 0), width - 1))
                for d in dilations
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
            ]
            neighbours = [place for number, place in enumerate(around) if number % 9 != 4]
            scores = []
            for place in neighbours:
                ratios = []
                for channel in range(3):
                    sigma = stdev(values[one][channel] for one in around)
                    ratios.append(abs(values[y, x, channel] - values[place][channel]) / (1e-8 + 0.1 * sigma))
                scores.append(-sum(ratios) / 3)
            powers = np.exp(np.array(scores) - max(scores))
            for weight, place in zip(powers / powers.sum(), neighbours, strict=True):
                result[:, y, x] += weight * maps[(slice(None), *place)]
    return result


@pytest.mark.parametrize("dilations", [(1,), (2, 3)])
def test_a_step_is_that_of_loops_over_pixels(dilations: tuple[int, ...]) -> None:
    maps = np.random.default_rng(1).random((2, 7, 9))
    first = by_hand(image(), maps, dilations)
    np.testing.assert_allclose(refine(maps, image(), 1, dilations), first, atol=1e-5)
    np.testing.assert_allclose(refine(maps, image(), 2, dilations), by_hand(image(), first, dilations), atol=1e-5)


def test_weights_are_a_distribution_over_all_neighbours() -> None:
    weights = kernel(image(), (1, 2))
    assert weights.shape == (16, 7, 9)
    np.testing.assert_allclose(weights.sum(0), 1, atol=1e-6)


def test_a_constant_image_weighs_all_neighbours_the_same() -> None:
    np.testing.assert_allclose(kernel(np.full((4, 5, 3), 90, np.uint8), (8, 16)), 1 / 16)


def test_weights_do_not_depend_on_the_unit_of_colours() -> None:
    np.testing.assert_allclose(kernel(image() / 255, (1, 2)), kernel(image(), (1, 2)), atol=1e-5)


def test_constant_maps_stay_and_others_stay_within_their_range() -> None:
    np.testing.assert_allclose(refine(np.full((2, 7, 9), 0.3), image(), 10, (1, 2)), 0.3, atol=1e-5)
    maps = np.random.default_rng(1).random((2, 7, 9))
    found = refine(maps, image(), 10, (8, 16))
    assert maps.min() <= found.min() <= found.max() <= maps.max()


def test_nothing_crosses_a_clear_edge() -> None:
    halves = np.zeros((8, 16, 3), np.uint8)
    halves[:, 8:] = 200
    maps = np.random.default_rng(1).random((1, 8, 16))
    maps[..., 8:] = 0
    assert refine(maps, halves, 10, (1, 2))[..., 8:].max() < 1e-3


def test_no_step_at_all_changes_nothing() -> None:
    maps = np.random.default_rng(1).random((2, 7, 9)).astype(np.float32)
    np.testing.assert_array_equal(refine(maps, image(), 0, (8, 16)), maps)
