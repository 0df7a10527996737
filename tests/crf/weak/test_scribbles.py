"""Skeletons against the paper's rules as plain loops, and scribbles on shapes whose middle is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from wildseg.crf.weak.paths import longest_paths
from wildseg.crf.weak.scribbles import cores, dots, line, scribbles, thicken
from wildseg.crf.weak.skeleton import skeleton

AROUND = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
EIGHT = np.ones((3, 3), int)


def as_in_the_paper(mask: np.ndarray) -> np.ndarray:
    """Zhang and Suen 1984, pixel by pixel: conditions (a) to (d), then (c') and (d')."""
    image = np.pad(mask, 1).astype(int)
    while True:
        before = image.copy()
        for first in (True, False):
            gone = []
            for row, column in np.argwhere(image):
                p2, p3, p4, p5, p6, p7, p8, p9 = around = [image[row + i, column + j] for i, j in AROUND]
                number = sum(around)
                patterns = sum(a == 0 and b == 1 for a, b in zip(around, [*around[1:], p2], strict=True))
                products = (p2 * p4 * p6, p4 * p6 * p8) if first else (p2 * p4 * p8, p2 * p6 * p8)
                if 2 <= number <= 6 and patterns == 1 and products == (0, 0):
                    gone.append((row, column))
            for place in gone:
                image[place] = 0
        if (before == image).all():
            return image[1:-1, 1:-1].astype(bool)


def shapes() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = [ndimage.gaussian_filter(rng.random((30, 40)), sigma) for sigma in (0.5, 1, 1.5, 2, 3) for _ in range(4)]
    blobs = [image > np.quantile(image, share) for image in noise for share in (0.3, 0.6)]
    return [*blobs, np.ones((9, 30), bool), np.ones((30, 8), bool), rng.random((30, 40)) > 0.5]


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_skeletons_are_those_of_the_papers_rules() -> None:
    for mask in shapes():
        expected, found = as_in_the_paper(mask), skeleton(mask)
        lost = ndimage.label(mask, EIGHT)[1] - ndimage.label(expected, EIGHT)[1]
        assert not (expected & ~found).any()
        assert (found & ~expected).sum() == lost  # one pixel for each region that the rules delete


def test_a_skeleton_lies_in_its_mask_and_has_as_many_parts() -> None:
    for mask in shapes():
        thin = skeleton(mask)
        assert not (thin & ~mask).any()
        assert ndimage.label(thin, EIGHT)[1] == ndimage.label(mask, EIGHT)[1]


LINES = [
    drawn("#########"),
    drawn("#", "#", "#", "#"),
    np.eye(9, dtype=bool),
    np.eye(9, dtype=bool)[::-1],
    drawn("#....", "#....", "####."),
    drawn("##....", ".##...", "..####"),
]


@pytest.mark.parametrize("straight", LINES[:5])
def test_the_skeleton_of_a_line_of_one_pixel_is_the_line(straight: np.ndarray) -> None:
    assert (skeleton(straight) == straight).all()


def test_even_a_square_of_two_pixels_keeps_one() -> None:
    mask = np.zeros((8, 8), bool)
    mask[3:5, 3:5] = True
    assert skeleton(mask).sum() == 1
    assert skeleton(np.zeros((4, 4), bool)).sum() == 0


@pytest.mark.parametrize("path", LINES)
def test_a_line_is_its_own_longest_path(path: np.ndarray) -> None:
    assert (longest_paths(path, 3.0) == path).all()  # stairs are no forks, and a line without a fork has no branch


def test_short_branches_go_and_the_longest_path_stays() -> None:
    comb = drawn(
        ".....#..........",
        ".....#...#......",
        "################",
        ".......#........",
        ".......#........",
        ".......#........",
    )
    for shortest in (0.0, 3.0, 5.0):
        assert (longest_paths(comb, shortest) == drawn(*[16 * "."] * 2, 16 * "#", *[16 * "."] * 3)).all()


def test_forks_at_an_end_are_cut_off_the_axis() -> None:
    fork = drawn(
        "#..........",
        ".#.........",
        "..#########",
        ".#.........",
        "#..........",
    )
    assert longest_paths(fork, 0.0).sum() == 11
    assert (longest_paths(fork, 3.0) == drawn(*["..........."] * 2, "..#########", *["..........."] * 2)).all()


def test_a_star_of_short_branches_keeps_its_longest_path() -> None:
    star = drawn("#...#", ".#.#.", "..#..", ".#.#.", "#...#")
    assert longest_paths(star, 10.0).sum() == 5


def test_every_part_keeps_a_path_of_its_own() -> None:
    two = drawn("####...#", "........", ".....###")
    assert (longest_paths(two, 2.0) == two).all()


def brute_longest(mask: np.ndarray) -> float:
    """The longest of all shortest ways, by trying every pair (Floyd and Warshall), steps to corners where no side."""
    places = [tuple(place) for place in np.argwhere(mask)]
    n = len(places)
    distance = np.full((n, n), np.inf)
    for i, (a, b) in enumerate(places):
        distance[i, i] = 0
        for j, (c, d) in enumerate(places):
            if abs(a - c) + abs(b - d) == 1:
                distance[i, j] = 1
            elif abs(a - c) == abs(b - d) == 1 and (a, d) not in places and (c, b) not in places:
                distance[i, j] = 2**0.5
    for k in range(n):
        distance = np.minimum(distance, distance[:, k : k + 1] + distance[k])
    return float(distance.max())


def test_the_longest_path_of_a_tree_is_the_longest() -> None:
    tried = 0
    for mask in shapes():
        thin = skeleton(mask)
        labelled, number = ndimage.label(thin, EIGHT)
        for index in range(1, number + 1):
            part = labelled == index
            if part.sum() > 60 or ndimage.label(~np.pad(part, 1))[1] > 1:  # a loop encloses something
                continue
            tried += 1
            assert brute_longest(longest_paths(part, 0.0)) == pytest.approx(brute_longest(part))
    assert tried > 20


def test_the_line_of_a_bar_is_its_axis() -> None:
    core = np.zeros((100, 140), bool)
    core[40:51, 10:130] = True
    rows, columns = np.nonzero(line(core))
    assert set(rows) == {45}
    assert 10 <= columns.min() <= 17
    assert 123 <= columns.max() <= 130


def test_scribble_pixels_are_a_part_of_the_core() -> None:
    rng = np.random.default_rng(2)
    maps = np.stack([ndimage.gaussian_filter(rng.random((50, 70)), 4) for _ in range(3)])
    maps = (maps - maps.min()) / (maps.max() - maps.min())
    thin, thick = (scribbles(maps, [1, 2, 3], 0.6, 0.45, pen=pen) for pen in (1, 3))
    for found in (thin, thick):
        for index, core in enumerate(cores(maps, 0.6)):
            assert (found == index + 1).any()
            assert not ((found == index + 1) & ~core).any()
            assert not ((found == index + 1) & (maps.argmax(0) != index)).any()
        assert (found == 0).any()
        assert not ((found == 0) & (maps.max(0) >= 0.45)).any()
    for value, core in ((0, maps.max(0) < 0.45), *enumerate(cores(maps, 0.6), 1)):
        assert ((thick == value) == (thicken(thin == value) & core)).all()


def test_a_pixel_of_two_lines_is_neither() -> None:
    maps = np.full((1, 9, 20), 0.7)
    assert set(np.unique(scribbles(maps, [1], 0.6, 0.6))) == {1, 255}
    assert set(np.unique(scribbles(maps, [1], 0.6, 0.8))) == {255}  # background is asked for in the same place


def test_a_frame_without_maps_is_background_or_nothing() -> None:
    none = np.zeros((0, 30, 40))
    assert set(np.unique(scribbles(none, [], 0.6, 0.1))) == {0, 255}
    assert set(np.unique(scribbles(none, [], 0.6, None))) == {255}


def test_dots_are_squares_and_two_that_disagree_are_none() -> None:
    found = dots(np.array([[2, 1, 3], [9, 4, 1], [11, 4, 2], [0, 0, 3]]), (6, 14))
    expected = np.full((6, 14), 255)
    expected[0:3, 1:4] = expected[0:2, 0:2] = 3
    expected[3:6, 8:10], expected[3:6, 11:13] = 1, 2
    assert found.tolist() == expected.tolist()
    assert (dots(np.zeros((0, 3), int), (3, 4)) == 255).all()
