"""Tiles, and the three ways to bring them to a model's size."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from tests.encoders.models import noise
from wildseg.labels.views import WHOLE, box_in_view, cells_in_box, crop_view, tile_boxes

GREY = (0.5, 0.5, 0.5)


def test_one_tile_is_the_whole_frame() -> None:
    assert tile_boxes(1) == [WHOLE]


def test_two_tiles_a_side_are_the_whole_frame_and_nine_half_overlapping_quarters() -> None:
    found = tile_boxes(2)
    assert found[0] == WHOLE
    assert len(found) == 10
    assert {box[:2] for box in found[1:]} == {(x, y) for x in (0, 0.25, 0.5) for y in (0, 0.25, 0.5)}
    assert all(box[2] - box[0] == box[3] - box[1] == 0.5 for box in found[1:])


@pytest.mark.parametrize("tiles", [2, 3, 4])
def test_tiles_stay_inside_and_reach_every_edge(tiles: int) -> None:
    edges = np.array(tile_boxes(tiles)[1:])
    assert len(edges) == (2 * tiles - 1) ** 2
    np.testing.assert_allclose(edges.min(0)[:2], 0)
    np.testing.assert_allclose(edges.max(0)[2:], 1)


def test_a_whole_frame_of_the_right_size_is_not_touched() -> None:
    image = noise((48, 64))
    assert crop_view(image, WHOLE, (48, 64), "squash", GREY) is image


def test_squashing_a_tile_is_cutting_it_out_and_resizing() -> None:
    image = noise((40, 60))
    cut = Image.fromarray(image[20:40, 0:30]).resize((64, 48), Image.Resampling.BICUBIC)
    found = crop_view(image, (0, 0.5, 0.5, 1), (48, 64), "squash", GREY)
    assert np.abs(found.astype(int) - np.asarray(cut)).max() <= 12  # the box's filter may see over its edge
    assert np.abs(found.astype(int) - np.asarray(cut)).mean() < 1


@pytest.mark.parametrize("shape", [(90, 161), (200, 77), (64, 64), (33, 40)])
def test_cropping_is_clips_own_preparation(shape: tuple[int, int]) -> None:
    image = noise(shape)
    prepare = open_clip.image_transform(64, is_train=False, mean=(0, 0, 0), std=(1, 1, 1), resize_mode="shortest")
    expected = (prepare(Image.fromarray(image)) * 255).round().byte().permute(1, 2, 0)
    assert torch.equal(torch.from_numpy(crop_view(image, WHOLE, (64, 64), "crop", GREY)), expected)


@pytest.mark.parametrize("shape", [(90, 160), (200, 80)])
def test_padding_keeps_the_aspect_ratio_and_fills_up_with_the_mean_colour(shape: tuple[int, int]) -> None:
    white = np.full((*shape, 3), 255, np.uint8)
    found = crop_view(white, WHOLE, (64, 64), "pad", (0.4, 0.2, 0))
    inside = (found == 255).all(-1)
    height, width = round(shape[0] * 64 / max(shape)), round(shape[1] * 64 / max(shape))
    assert inside.sum() == height * width
    np.testing.assert_array_equal(inside, inside[::-1, ::-1])
    np.testing.assert_array_equal(found[~inside], np.broadcast_to([102, 51, 0], ((~inside).sum(), 3)))


@pytest.mark.parametrize("how", ["squash", "crop", "pad"])
@pytest.mark.parametrize("tiles", [1, 3])
def test_every_look_has_the_size_that_was_asked_for(how: str, tiles: int) -> None:
    for box in tile_boxes(tiles):
        assert crop_view(noise((51, 93)), box, (48, 64), how, GREY).shape == (48, 64, 3)


@pytest.mark.parametrize(("shape", "size"), [((90, 160), (64, 64)), ((90, 60), (64, 64)), ((30, 40), (64, 48))])
def test_what_a_box_holds_is_where_its_place_in_the_padded_view_is(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    height, width = shape
    for box in tile_boxes(3)[1:]:
        white = np.zeros((*shape, 3), np.uint8)
        white[round(box[1] * height) : round(box[3] * height), round(box[0] * width) : round(box[2] * width)] = 255
        seen = crop_view(white, WHOLE, size, "pad", (0, 0, 0))[..., 0] > 127
        rows, columns = (seen.any(axis).nonzero()[0] for axis in (1, 0))
        found = columns[0] / size[1], rows[0] / size[0], (columns[-1] + 1) / size[1], (rows[-1] + 1) / size[0]
        np.testing.assert_allclose(box_in_view(box, shape, size, "pad"), found, atol=2 / min(size))
        assert box_in_view(box, shape, size, "squash") == box
    assert box_in_view(WHOLE, shape, size, "pad") == WHOLE


def test_a_box_covers_the_cells_whose_greater_part_it_holds() -> None:
    found = cells_in_box((0.25, 0.5, 0.75, 1), (6, 8)).reshape(6, 8)
    expected = np.zeros((6, 8), bool)
    expected[3:, 2:6] = True
    np.testing.assert_array_equal(found, expected)
    assert cells_in_box(WHOLE, (6, 8)).all()


@pytest.mark.parametrize("tiles", [2, 5, 12])
def test_every_tile_holds_a_cell_and_every_cell_is_in_a_tile(tiles: int) -> None:
    held = np.stack([cells_in_box(box, (6, 8)) for box in tile_boxes(tiles)[1:]])
    assert held.any(1).all()
    assert held.any(0).all()
