"""Maps restricted to tiles, against a plain loop over cells and tiles."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.cam.tiles import is_finer, tile_weights, within


def brute_force(tiles: np.ndarray, classes: list[int], grid: tuple[int, int]) -> np.ndarray:
    rows, columns, _ = tiles.shape
    out = np.zeros((len(classes), *grid))
    for k, index in enumerate(classes):
        for y in range(grid[0]):
            for x in range(grid[1]):
                v, u = (y + 0.5) / grid[0], (x + 0.5) / grid[1]  # of the cell's centre, in parts of the frame
                for i in range(rows):
                    for j in range(columns):
                        if tiles[i, j, index]:
                            below = max(i / rows - v, 0, v - (i + 1) / rows) * rows
                            beside = max(j / columns - u, 0, u - (j + 1) / columns) * columns
                            out[k, y, x] = max(out[k, y, x], min(1.0, max(0.0, 1 - 2 * max(below, beside))))
    return out


@pytest.mark.parametrize(("shape", "grid"), [((2, 3), (7, 9)), ((3, 4), (6, 8)), ((1, 2), (5, 5)), ((4, 4), (4, 4))])
def test_weights_fall_linearly_to_nothing_half_a_tile_away(shape: tuple[int, int], grid: tuple[int, int]) -> None:
    tiles = np.random.default_rng(1).random((*shape, 5)) < 0.3
    expected = brute_force(tiles, [0, 2, 4], grid)
    assert 0 < expected.mean() < 1
    np.testing.assert_allclose(tile_weights(tiles, [0, 2, 4], grid), expected, atol=1e-6)


def test_a_border_worked_out_by_hand() -> None:
    tiles = np.array([[[True], [False], [False]]])
    # Tiles of four cells: centres lie 1/8, 3/8, 5/8, ... of a tile beyond the first one.
    expected = [1, 1, 1, 1, 0.75, 0.25, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(tile_weights(tiles, [0], (1, 12))[0, 0], expected)


def test_a_class_in_all_tiles_has_its_whole_map_and_one_in_none_nothing() -> None:
    tiles = np.zeros((3, 4, 2), bool)
    tiles[..., 1] = True
    weights = tile_weights(tiles, [0, 1], (7, 7))
    assert (weights[0] == 0).all()
    assert (weights[1] == 1).all()
    assert (tile_weights(np.ones((1, 1, 3), bool), [0, 1, 2], (5, 6)) == 1).all()
    assert tile_weights(tiles, [], (5, 6)).shape == (0, 5, 6)


def test_labels_of_a_flipped_frame_give_flipped_weights() -> None:
    tiles = np.random.default_rng(2).random((3, 4, 6)) < 0.3
    weights = tile_weights(tiles, range(6), (7, 10))
    np.testing.assert_allclose(tile_weights(tiles[:, ::-1], range(6), (7, 10)), weights[:, :, ::-1], atol=1e-6)
    np.testing.assert_allclose(tile_weights(tiles[::-1], range(6), (7, 10)), weights[:, ::-1], atol=1e-6)


def test_where_tiles_are_finer_than_cells_a_cell_has_the_classes_of_all_tiles_that_it_overlaps() -> None:
    tiles = np.random.default_rng(4).random((7, 5, 3)) < 0.2
    expected = np.zeros((3, 4, 3), bool)
    for i, j, y, x in np.ndindex(7, 5, 3, 4):
        rows_meet = i / 7 < (y + 1) / 3 - 1e-9 and (i + 1) / 7 > y / 3 + 1e-9
        if rows_meet and j / 5 < (x + 1) / 4 - 1e-9 and (j + 1) / 5 > x / 4 + 1e-9:
            expected[y, x] |= tiles[i, j]
    np.testing.assert_array_equal(within(tiles, (3, 4)), expected)
    np.testing.assert_array_equal(tile_weights(tiles, [0], (3, 4)), tile_weights(expected, [0], (3, 4)))
    assert is_finer(tiles, (3, 9))
    assert is_finer(tiles, (9, 4))
    assert not is_finer(tiles, (7, 5))
    assert tile_weights(tiles, [0], (1, 1)).shape == (1, 1, 1)
