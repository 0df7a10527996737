import numpy as np
import pytest
from PIL import Image

from tests.frames.clips import flat
from wildseg.frames.image import (
    EXIF_ORIENTATIONS,
    Orientation,
    composite_on_black,
    grey,
    mean_difference,
    resize,
    shrink,
    size_for_width,
)
from wildseg.frames.sample import ArrayPixels
from wildseg.frames.sharpness import sharpness

RNG = np.random.default_rng(0)


def test_grey_is_rec601_within_the_rounding_of_its_fixed_point_numbers() -> None:
    image = RNG.integers(0, 256, (300, 300, 3)).astype(np.uint8)
    exact = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey(image) - exact).max() < 0.51
    assert (grey(image) == np.round(exact)).mean() > 0.998
    assert grey(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)).tolist() == [[76, 150, 29]]
    assert all(grey(flat(level)).tolist() == flat(level)[..., 0].tolist() for level in (0, 1, 127, 254, 255))


def overlaps(cells: int, pixels: int) -> np.ndarray:
    """Return the share of each cell that each pixel covers, cells and pixels laid evenly over [0, 1]."""
    edges, borders = np.arange(cells + 1) / cells, np.arange(pixels + 1) / pixels
    low = np.maximum(edges[:-1, None], borders[None, :-1])
    high = np.minimum(edges[1:, None], borders[None, 1:])
    return np.maximum(high - low, 0) * cells


def test_shrinking_averages_areas() -> None:
    image = RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8)
    for height, width in ((4, 4), (5, 7), (11, 15), (1, 1)):
        means = np.einsum("iy,jx,yxc->ijc", overlaps(height, 12), overlaps(width, 16), image)
        np.testing.assert_allclose(resize(image, width, height), means, atol=0.51)


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [((30, 40), None, (30, 40)), ((30, 40), 40, (30, 40)), ((30, 40), 20, (15, 20)), ((40, 30), 20, (20, 15)),
     ((2, 400), 20, (1, 20)), ((666, 1000), 100, (67, 100)), ((1000, 666), 100, (100, 67)),
     ((664, 1000), 100, (66, 100))],
)  # fmt: skip
def test_the_longer_side_becomes_max_side_and_nothing_is_enlarged(
    size: tuple[int, int], max_side: int | None, expected: tuple[int, int]
) -> None:
    assert shrink(np.zeros((*size, 3), np.uint8), max_side).shape == (*expected, 3)


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [((1000, 667), 100, (100, 67)), ((1000, 664), 100, (100, 66)), ((1920, 1079), 320, (320, 180)),
     ((4000, 2999), 333, (333, 250)), ((400, 1), 20, (20, 1)), ((90, 60), 100, (90, 60)), ((90, 60), None, (90, 60))],
)  # fmt: skip
def test_a_size_for_a_width_is_rounded_and_not_cut(
    size: tuple[int, int], limit: int | None, expected: tuple[int, int]
) -> None:
    assert size_for_width(*size, limit) == expected


def test_what_is_transparent_is_black_behind_every_colour_and_alpha() -> None:
    values, alphas = np.mgrid[0:256, 0:256].astype(np.uint8)
    found = composite_on_black(np.repeat(values[..., None], 3, axis=2), alphas)
    exact = values.astype(float) * alphas / 255
    assert np.abs(found - exact[..., None]).max() <= 0.5


@pytest.mark.parametrize("turn", EXIF_ORIENTATIONS.values())
def test_what_is_stored_through_a_view_comes_out_upright(turn: Orientation) -> None:
    stored = RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    upright = np.zeros_like(turn.apply(stored))
    turn.stored(upright)[...] = stored
    np.testing.assert_array_equal(upright, turn.apply(stored))


def test_pixels_in_memory_shrink_to_a_width() -> None:
    pixels = ArrayPixels(RNG.integers(0, 256, (30, 40, 3)).astype(np.uint8))
    assert pixels.rgb(20).shape == (15, 20, 3)
    assert pixels.grey(20).shape == (15, 20)
    assert pixels.rgb(80) is pixels.image
    np.testing.assert_array_equal(pixels.grey(), grey(pixels.image))


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    image = RNG.integers(0, 256, (20, 30)).astype(np.uint8)
    around = np.pad(image.astype(float), 1, mode="reflect")
    laplacian = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:] - 4 * around[1:-1, 1:-1]
    assert sharpness(image) == pytest.approx(laplacian.var())
    assert sharpness(flat(90)[..., 0]) == 0
    blurred = np.asarray(Image.fromarray(image).resize((8, 6)).resize((30, 20), Image.Resampling.BICUBIC))
    assert sharpness(blurred) < sharpness(image) / 10


def test_differences_do_not_wrap_around() -> None:
    assert mean_difference(flat(10)[..., 0], flat(250)[..., 0]) == 240
    assert mean_difference(flat(250)[..., 0], flat(10)[..., 0]) == 240


def test_the_difference_is_the_mean_over_pixels() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 33, 57)).astype(np.uint8)
    assert mean_difference(first, second) == pytest.approx(np.abs(first.astype(int) - second.astype(int)).mean())
