"""The grid of pixels that maps and image share."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.encoders.models import noise
from wildseg.cam.pixel_grid import on_pixels


@pytest.mark.parametrize(
    ("size", "cells", "side", "expected"),
    [
        ((168, 224), (21, 28), 80, (80, 107)),
        ((1080, 1920), (23, 40), 80, (80, 142)),
        ((224, 168), (28, 21), 80, (107, 80)),
        ((60, 80), (3, 4), 80, (60, 80)),  # no finer than the frame
        ((168, 224), (90, 120), 80, (90, 120)),  # no coarser than the maps
        ((3, 5), (1, 1), 80, (3, 5)),
    ],
)
def test_the_shorter_side_has_as_many_cells_as_are_wanted(
    size: tuple[int, int], cells: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    maps, pixels = on_pixels(np.zeros((2, *cells), np.float32), noise(size), side)
    assert maps.shape == (2, *expected)
    assert pixels.shape == (*expected, 3)


def test_an_image_is_averaged_over_boxes_and_maps_are_bilinear() -> None:
    image, maps = noise((40, 60)), np.random.default_rng(0).random((1, 4, 6)).astype(np.float32)
    fine, pixels = on_pixels(maps, image, 20)
    boxes = image.reshape(20, 2, 30, 2, 3).mean((1, 3))
    np.testing.assert_allclose(pixels, boxes, atol=1)  # rounded after either axis
    np.testing.assert_allclose(fine[0], cv2.resize(maps[0], (30, 20), interpolation=cv2.INTER_LINEAR), atol=1e-5)


def test_maps_on_the_grid_of_the_pixels_are_unchanged() -> None:
    maps, image = np.random.default_rng(0).random((2, 4, 6)).astype(np.float32), noise((4, 6))
    fine, pixels = on_pixels(maps, image, 80)
    np.testing.assert_array_equal(fine, maps)
    np.testing.assert_array_equal(pixels, image)
