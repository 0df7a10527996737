from dataclasses import replace

import numpy as np
import pytest

from wildseg.core.colours import palette
from wildseg.report.drawing import PANEL
from wildseg.report.explanation import BLACK, WHITE, Sheet, Strip, draw, mark

NAMES = ["background", "lawn", "road", "sky"]
PALETTE = palette(NAMES[1:])
HEIGHT, WIDTH = 30, 40


def sheet(layers: int = 3, strips: int = 2, height: int = HEIGHT, width: int = WIDTH) -> Sheet:
    region = np.zeros((height, width), np.float32)
    region[height // 3 : height // 2 + 1, width // 4 : width // 2 + 1] = 1
    maps = [np.linspace(0, 1, height * width).reshape(height, width)] * layers
    return Sheet(
        title="drive_000010: road",
        target="target: the pixels predicted as road",
        class_id=2,
        image=np.full((height, width, 3), 100, np.uint8),
        prediction=np.ones((height, width), np.uint8),
        probability=np.zeros((height, width)),
        region=region,
        layers=[f"layer{index}" for index in range(layers)],
        strips=[Strip("HiResCAM", "where", maps, [""] * layers)] * strips,
    )


@pytest.mark.parametrize("layers", [1, 3, 5, 6, 11])
@pytest.mark.parametrize("strips", [1, 3])
def test_a_sheet_is_as_wide_with_any_number_of_layers(layers: int, strips: int) -> None:
    picture = draw(sheet(layers, strips), NAMES, PALETTE)
    assert picture.dtype == np.uint8
    assert picture.shape[1] == draw(sheet(), NAMES, PALETTE).shape[1]
    assert picture.shape[0] > draw(sheet(layers, strips - 1), NAMES, PALETTE).shape[0]


@pytest.mark.parametrize(("height", "width"), [(2, 3), (300, 20), (20, 300), (900, 1600)])
def test_frames_of_any_size_keep_their_shape(height: int, width: int) -> None:
    given = sheet(2, 1, height, width)
    picture = draw(replace(given, image=np.full((height, width, 3), (200, 10, 90), np.uint8)), NAMES, PALETTE)
    frame = (picture == (200, 10, 90)).all(axis=2)
    scale = min(PANEL / height, (picture.shape[1] - 4 * 12) / 3 / width)
    assert frame.any(axis=0).sum() == pytest.approx(width * scale, abs=1)
    assert frame.any(axis=1).sum() == pytest.approx(height * scale, abs=1)


def test_the_same_sheet_is_drawn_the_same_way() -> None:
    assert np.array_equal(draw(sheet(), NAMES, PALETTE), draw(sheet(), NAMES, PALETTE))


def test_the_class_asked_about_is_in_the_legend_even_where_it_is_not_answered() -> None:
    def shows(picture: np.ndarray, value: int) -> bool:
        return bool((picture == PALETTE[value]).all(axis=2).any())

    picture = draw(sheet(), NAMES, PALETTE)
    assert shows(picture, 1)
    assert shows(picture, 2)
    assert not shows(picture, 3)


# The target pixels -------------------------------------------------------------------------------------------------


def grey(height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def test_a_region_is_outlined_around_and_not_on_it() -> None:
    region = np.zeros((HEIGHT, WIDTH))
    region[10:20, 5:15] = 1
    marked = mark(grey(), region)
    inside = np.zeros((60, 80), bool)
    inside[20:40, 10:30] = True
    assert (marked[inside] == 100).all()
    assert (marked[19, 10:30] == WHITE).all()
    assert (marked[20:40, 30] == WHITE).all()
    assert (marked[18, 10:30] == BLACK).all()
    assert (marked[:18] == 100).all()
    assert (marked[:, 32:] == 100).all()


@pytest.mark.parametrize(("height", "width"), [(60, 80), (15, 20), (480, 640)])
def test_a_single_pixel_gets_a_ring_around_it_at_any_size(height: int, width: int) -> None:
    region = np.zeros((HEIGHT, WIDTH))
    region[21, 13] = 1
    changed = (mark(grey(height, width), region) != 100).any(axis=2)
    down, across = np.nonzero(changed)
    y, x = 21.5 * height / HEIGHT, 13.5 * width / WIDTH
    assert (down.min() + down.max() + 1) / 2 == pytest.approx(y, abs=1.5) or down.max() == height - 1
    assert (across.min() + across.max() + 1) / 2 == pytest.approx(x, abs=1.5)
    assert not changed[int(y), int(x)]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_pixels_and_none_have_no_outline(value: float) -> None:
    assert (mark(grey(), np.full((HEIGHT, WIDTH), value)) == 100).all()


def test_drawing_on_a_picture_does_not_change_it() -> None:
    pixels, region = grey(), np.zeros((HEIGHT, WIDTH))
    region[10:20, 5:15] = 1
    mark(pixels, region)
    region[:] = 0
    region[3, 3] = 1
    mark(pixels, region)
    assert (pixels == 100).all()
