import io

import numpy as np
from PIL import Image

from wildseg.core.colours import palette
from wildseg.report.sheets import photo, sheet_of_ids, sheet_of_maps

PALETTE = palette(["lawn", "tree"])


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_masks_lie_below_each_other_with_their_ids_unchanged() -> None:
    masks = [np.full((3, 4), id_, np.uint8) for id_ in (0, 7, 255)]
    sheet = opened(sheet_of_ids(masks, PALETTE))
    assert sheet.mode == "P"
    assert np.array_equal(np.asarray(sheet), np.concatenate(masks))


def test_large_masks_are_shrunk_to_ids_that_they_have() -> None:
    mask = np.where(np.arange(960)[None] < 480, 1, 9).repeat(10, 0).astype(np.uint8)
    sheet = np.asarray(opened(sheet_of_ids([mask, mask], PALETTE)))
    assert sheet.shape == (10, 480)
    assert set(np.unique(sheet)) == {1, 9}
    assert (sheet[:, :240] == 1).all()


def test_maps_lie_below_each_other_from_dark_to_bright() -> None:
    maps = [np.full((2, 3), value, np.float32) for value in (0.0, 0.5, 1.0)]
    sheet = np.asarray(opened(sheet_of_maps(maps, (120, 160))).convert("RGB")).astype(int)
    assert sheet.shape == (3 * 112, 160, 3) or sheet.shape == (3 * 128, 160, 3)  # a multiple of 16 beside 120
    means = [part.mean((0, 1)) for part in np.split(sheet, 3)]
    np.testing.assert_allclose(means, [(6, 4, 24), (186, 54, 86), (252, 250, 180)], atol=3)
    # No part shines into its neighbour: all rows of one are alike.
    assert max(np.ptp(part.mean(2)) for part in np.split(sheet, 3)) <= 3


def test_a_frame_of_few_pixels_and_a_narrow_one_have_sheets() -> None:
    assert opened(sheet_of_maps([np.zeros((1, 1))], (1, 2))).size == (16, 16)
    assert opened(photo(np.zeros((2, 3000, 3), np.uint8))).size == (480, 1)
    assert opened(sheet_of_ids([np.zeros((2, 3000), np.uint8)] * 2, PALETTE)).size == (480, 2)


def test_photos_keep_their_colours_and_the_same_arrays_give_the_same_bytes() -> None:
    image = np.zeros((60, 80, 3), np.uint8) + np.array([200, 90, 30], np.uint8)
    shown = np.asarray(opened(photo(image))).astype(int)
    assert shown.shape == image.shape
    assert abs(shown - image).max() <= 4
    assert photo(image) == photo(image.copy())
