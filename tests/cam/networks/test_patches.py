"""Where patches lie, and what is cut there."""

from __future__ import annotations

import pytest
import torch

from wildseg.cam.networks.patches import boxes, cut, grid, places


def test_the_first_four_are_the_corners_and_the_rest_lies_inside() -> None:
    torch.manual_seed(0)
    where = places(200, 6, 448, 320, "corners")
    assert where.shape == (200, 6, 2)
    for corners in where[:, :4].tolist():
        assert corners == [[0, 0], [0, 128], [128, 0], [128, 128]]
    drawn = where[:, 4:].flatten()
    assert (int(drawn.min()), int(drawn.max())) == (0, 128)
    assert len(drawn.unique()) > 100
    assert not torch.equal(where[0], where[1])


def test_random_places_are_all_drawn_and_repeat_with_the_seed() -> None:
    torch.manual_seed(3)
    first = places(50, 4, 60, 50, "random")
    torch.manual_seed(3)
    assert torch.equal(first, places(50, 4, 60, 50, "random"))
    assert set(first.flatten().tolist()) == set(range(11))


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (1, [[5, 5]]),
        (2, [[5, 0], [5, 10]]),
        (4, [[0, 0], [0, 10], [10, 0], [10, 10]]),
        (6, [[0, 0], [0, 5], [0, 10], [10, 0], [10, 5], [10, 10]]),
        (3, [[5, 0], [5, 5], [5, 10]]),
    ],
)
def test_a_grid_is_even_from_edge_to_edge(number: int, wanted: list[list[int]]) -> None:
    assert grid(number, 10).tolist() == wanted
    assert places(3, number, 60, 50, "grid").tolist() == [wanted] * 3


def test_a_patch_of_the_whole_image_is_the_image() -> None:
    images = torch.randn(2, 3, 8, 8)
    for layout in ("corners", "random", "grid"):
        where = places(2, 4, 8, 8, layout)
        assert torch.equal(cut(images, where, 8), images.repeat_interleave(4, 0))


def test_patches_hold_the_pixels_of_their_boxes() -> None:
    images = torch.arange(2 * 10 * 10).reshape(2, 1, 10, 10).float()
    where = torch.tensor([[[0, 3], [6, 1]], [[2, 2], [5, 6]]])
    found, at = cut(images, where, 4), boxes(where, 4)
    assert at.tolist() == [[0, 3, 0, 7, 4], [0, 1, 6, 5, 10], [1, 2, 2, 6, 6], [1, 6, 5, 10, 9]]
    for patch, (number, x1, y1, x2, y2) in zip(found, at.int().tolist(), strict=True):
        assert torch.equal(patch, images[number, :, y1:y2, x1:x2])
