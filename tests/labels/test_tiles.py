"""Tiles as frames of their own: their pixels, what becomes of their results, and labels that a person corrected."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.core.errors import ParamsError
from wildseg.labels.interface import LabelResult, NamedImage
from wildseg.labels.tiles import agreeing, boxes, check_names, crop, crops, joined, merge, stacked


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (3, 4), (5, 5)])
@pytest.mark.parametrize("size", [(17, 23), (5, 5), (48, 64)])
def test_every_pixel_is_in_exactly_one_tile(grid: tuple[int, int], size: tuple[int, int]) -> None:
    image = np.arange(size[0] * size[1] * 3).reshape(*size, 3)
    rows = [np.concatenate([crop(image, i, j, grid) for j in range(grid[1])], 1) for i in range(grid[0])]
    np.testing.assert_array_equal(np.concatenate(rows), image)
    assert (
        len(crop(image, 1 % grid[0], 0, grid))
        == size[0] * (1 % grid[0] + 1) // grid[0] - size[0] * (1 % grid[0]) // grid[0]
    )


def test_a_tile_of_an_image_with_fewer_pixels_than_tiles_is_one_pixel() -> None:
    image = np.arange(6).reshape(1, 2, 3)
    assert [crop(image, i, j, (3, 3)).shape for i, j in np.ndindex(3, 3)] == [(1, 1, 3)] * 9


def test_an_image_is_decoded_once_for_all_of_its_tiles() -> None:
    image, decoded = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8), []

    def load() -> np.ndarray:
        decoded.append(1)
        return image

    parts = crops(NamedImage("a", load), (2, 3))
    assert [part.name for part in parts] == ["a"] * 6
    for (i, j), part in zip(np.ndindex(2, 3), parts, strict=True):
        np.testing.assert_array_equal(part.load(), image[4 * i : 4 * i + 4, 3 * j : 3 * j + 3])
    assert len(decoded) == 1
    parts[5].load()  # a second time, and alone
    assert len(decoded) == 2


def test_boxes_are_those_of_the_tiles_row_by_row() -> None:
    assert boxes((2, 1)) == [(0, 0, 1, 0.5), (0, 0.5, 1, 1)]
    assert boxes((1, 1)) == [(0, 0, 1, 1)]
    left, top, right, bottom = boxes((3, 4))[6]
    np.testing.assert_allclose((left, top, right, bottom), (0.5, 1 / 3, 0.75, 2 / 3))


def test_results_of_tiles_become_one_of_the_image() -> None:
    scores = np.random.default_rng(0).random((8, 3))
    results = [
        LabelResult(own, 0.2, {"turns": [n], "retries": n, "parse_error": None, "cost": 0.5}, relative=True)
        for n, own in enumerate(scores)
    ]
    first, second = merge(iter(results), (2, 2))
    np.testing.assert_array_equal(first.tiles, scores[:4].reshape(2, 2, 3))
    np.testing.assert_array_equal(first.scores, scores[:4].max(0))
    np.testing.assert_array_equal(second.tiles, scores[4:].reshape(2, 2, 3))
    assert (first.threshold, first.relative, first.failed) == (0.2, True, None)
    assert first.record == {"turns": [0, 1, 2, 3], "retries": 6, "parse_error": None, "cost": 2.0}
    np.testing.assert_array_equal(stacked([first, second], (2, 2)), scores.reshape(2, 2, 2, 3))
    np.testing.assert_array_equal(stacked(results, (1, 1)), scores[:, None, None])


def test_a_tile_that_failed_leaves_its_image_without_scores() -> None:
    good, bad = LabelResult(np.ones(2), 0.5), LabelResult(np.zeros(0), 0.0, failed="refused")
    first, second = merge([good, good, good, bad], (1, 2))
    assert first.failed is None
    assert second.failed == "refused"


def test_records_are_joined_by_their_kind() -> None:
    assert joined([{}, {}]) == {}
    assert joined([{"a": None, "b": "x"}, {"a": "y", "b": "z"}]) == {"a": "y", "b": "x"}


def test_labels_of_tiles_agree_with_those_of_a_corrected_frame() -> None:
    tiles = np.zeros((1, 2, 2, 3), bool)
    tiles[0, 0, 0, 0] = tiles[0, 1, 1, 1] = True
    found = agreeing(tiles, np.array([[True, False, True]]))
    assert found[0, ..., 0].tolist() == [[True, False], [False, False]]  # as it was
    assert not found[0, ..., 1].any()  # taken out
    assert found[0, ..., 2].all()  # somewhere
    rng = np.random.default_rng(0)
    for _ in range(20):
        tiles, present = rng.random((4, 2, 3, 5)) < 0.3, rng.random((4, 5)) < 0.5
        np.testing.assert_array_equal(agreeing(tiles, present).any((1, 2)), present)


def test_a_class_named_as_a_column_of_their_table_is_refused_with_a_grid_alone() -> None:
    check_names(("sky", "Row"), (1, 1))
    with pytest.raises(ParamsError, match=r"classes\.Row: with label\.grid, row, column, rows, columns are columns of"):
        check_names(("sky", "Row"), (1, 2))
