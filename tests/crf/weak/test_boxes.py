"""Boxes of maps whose regions are known."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.crf.weak.boxes import boxes
from wildseg.crf.weak.regions import regions, stretch

ALL = {"tau": 0.4, "min_area": 0.0, "min_share": 0.0}


def heat(*rectangles: tuple[int, int, int, int, float], shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A map with rectangles (x0, y0, x1, y1, value)."""
    image = np.zeros(shape, np.float32)
    for x0, y0, x1, y1, value in rectangles:
        image[y0:y1, x0:x1] = value
    return image


@pytest.mark.parametrize(("x0", "y0", "x1", "y1"), [(5, 7, 20, 31), (0, 0, 60, 40), (59, 39, 60, 40), (0, 12, 60, 13)])
def test_the_box_of_a_filled_rectangle_is_the_rectangle(x0: int, y0: int, x1: int, y1: int) -> None:
    np.testing.assert_allclose(boxes(heat((x0, y0, x1, y1, 0.75)), **ALL), [[x0, y0, x1, y1, 0.75]])


def test_each_region_has_a_box_and_corners_connect() -> None:
    found = boxes(heat((0, 0, 10, 10, 1.0), (10, 10, 12, 12, 0.5), (30, 3, 33, 6, 0.8)), **ALL)
    np.testing.assert_allclose(found[:, :4], [[0, 0, 12, 12], [30, 3, 33, 6]])
    np.testing.assert_allclose(found[:, 4], [(100 + 4 * 0.5) / 144, 0.8], rtol=1e-6)  # the mean in the box


def test_the_threshold_itself_is_outside() -> None:
    assert len(boxes(heat((5, 5, 9, 9, 0.5)), 0.5, 0.0, 0.0)) == 0
    assert boxes(heat(), **ALL).shape == (0, 5)


@pytest.mark.parametrize(
    ("min_area", "min_share", "left"), [(0, 0, [400, 41, 40]), (0.02, 0, [400]), (41 / 2400, 0, [400, 41]),
                                        (0, 0.1, [400, 41, 40]), (0, 0.101, [400, 41]), (0.9, 0, [])]
)  # fmt: skip
def test_small_regions_are_dropped(min_area: float, min_share: float, left: list[int]) -> None:
    mask = heat((0, 0, 20, 20, 1), (22, 0, 32, 4, 1), (40, 10, 50, 14, 1)) > 0
    mask[14, 45] = True
    assert sorted((int(at.pixels.sum()) for at in regions(mask, min_area, min_share)), reverse=True) == left


def test_scaling_a_map_changes_nothing_once_it_is_stretched() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((3, 30, 41))
    expected = stretch(maps)
    assert expected.min() == 0
    assert expected.max() == 1
    for factor in (1.0, 0.5, 0.01):
        np.testing.assert_allclose(stretch(maps * factor), expected, atol=1e-12)
        for one, other in zip(stretch(maps * factor), expected, strict=True):
            np.testing.assert_allclose(boxes(one, **ALL), boxes(other, **ALL), atol=1e-9)


def test_a_map_that_is_the_same_everywhere_marks_nothing() -> None:
    assert (stretch(np.full((2, 4, 5), 0.7)) == 0).all()
    assert stretch(np.zeros((0, 4, 5))).shape == (0, 4, 5)


def test_against_a_flood_fill() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        mask = rng.random((12, 15)) > 0.7
        assert {box(at) for at in flood(mask)} == {tuple(row[:4]) for row in boxes(mask.astype(float), **ALL).tolist()}


def flood(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    left = set(map(tuple, np.argwhere(mask).tolist()))
    found = []
    while left:
        todo, region = [left.pop()], set()
        while todo:
            row, column = todo.pop()
            region.add((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            todo += near
        found.append(region)
    return found


def box(region: set[tuple[int, int]]) -> tuple[int, int, int, int]:
    rows, columns = zip(*region, strict=True)
    return min(columns), min(rows), max(columns) + 1, max(rows) + 1
