"""Points on maps of hills whose tops are known."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.crf.weak.points import background, foreground

ALL = {"tau": 0.4, "min_area": 0.0, "min_share": 0.0}
SHAPE = (60, 80)  # the diagonal is 100


def hills(*tops: tuple[int, int, float], width: float = 4.0) -> np.ndarray:
    """A map with round hills (x, y, height)."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.max([h * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2)) for x, y, h in tops], axis=0)


def test_every_region_has_a_point_at_its_top() -> None:
    found = foreground(hills((20, 30, 0.6), (60, 10, 1.0), (70, 50, 0.7)), 5, **ALL)
    assert found.tolist() == [[60, 10], [70, 50], [20, 30]]  # the highest first


def test_no_more_points_than_wanted() -> None:
    heat = hills((20, 30, 0.6), (60, 10, 1.0), (70, 50, 0.7))
    assert foreground(heat, 2, **ALL).tolist() == [[60, 10], [70, 50]]
    assert foreground(heat * 0, 2, **ALL).shape == (0, 2)


def test_a_region_of_two_high_hills_has_two_points_and_of_a_low_one_only_its_top() -> None:
    ridge = np.maximum(hills((20, 30, 1.0), (40, 30, 0.95)), hills(*((x, 30, 0.5) for x in range(20, 41))))
    assert foreground(ridge, 5, **ALL).tolist() == [[20, 30], [40, 30]]
    low = np.maximum(hills((20, 30, 1.0), (40, 30, 0.8)), hills(*((x, 30, 0.5) for x in range(20, 41))))
    assert foreground(low, 5, **ALL).tolist() == [[20, 30]]  # smoothed, the second is below 0.8


def test_points_of_a_class_are_five_hundredths_of_a_diagonal_apart() -> None:
    rng = np.random.default_rng(0)
    found = foreground(rng.random(SHAPE) * 0.01 + 0.95, 40, **ALL)  # tops everywhere
    distances = np.hypot(*(found[:, None] - found[None]).transpose(2, 0, 1)) + 100 * np.eye(len(found))
    assert len(found) > 20
    assert distances.min() >= 5


def test_background_points_are_where_the_largest_map_is_lowest() -> None:
    maps = np.stack([np.tile(np.linspace(0, 1, 80), (60, 1)), np.zeros(SHAPE)])
    found = background(maps, 6, 0.9, np.random.default_rng(0))
    assert len(found) == 6
    assert (maps.max(0)[found[:, 1], found[:, 0]] <= np.quantile(maps.max(0), 0.1)).all()
    distances = np.hypot(*(found[:, None] - found[None]).transpose(2, 0, 1)) + 100 * np.eye(6)
    assert distances.min() >= 5


def test_there_is_no_background_point_where_a_map_is_high() -> None:
    assert len(background(np.full((1, *SHAPE), 0.5), 6, 0.1, np.random.default_rng(0))) == 0
    assert len(background(np.full((1, *SHAPE), 0.05), 6, 0.1, np.random.default_rng(0))) == 6


def test_a_frame_without_maps_is_background() -> None:
    assert len(background(np.zeros((0, *SHAPE)), 6, 0.1, np.random.default_rng(0))) == 6


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_draws_the_same_points(seed: int) -> None:
    maps = np.zeros((1, *SHAPE))
    one, other = (background(maps, 6, 0.1, np.random.default_rng(seed)) for _ in range(2))
    assert one.tolist() == other.tolist()
    assert one.tolist() != background(maps, 6, 0.1, np.random.default_rng(seed + 1)).tolist()


def test_background_points_are_drawn_from_no_more_than_a_tenth_of_the_pixels() -> None:
    evidence = np.full(SHAPE, 0.5)
    evidence.ravel()[: evidence.size // 10] = 0.0  # a tenth of the pixels, in the upper rows; all others are alike
    found = background(evidence[None], 40, 0.9, np.random.default_rng(0))
    assert len(found) > 5
    assert (evidence[found[:, 1], found[:, 0]] == 0).all()
