from dataclasses import replace

import numpy as np
import pytest

from wildseg.core.colours import palette
from wildseg.report.drawing import PANEL
from wildseg.report.pictures import WRONG, Label, Page, draw

NAMES = ["background", "lawn", "road", "sky", *(f"class number {number}" for number in range(4, 31))]
PALETTE = palette(NAMES[1:])
HEIGHT, WIDTH = 30, 40


def page(num_maps: int = 2) -> Page:
    truth = np.full((HEIGHT, WIDTH), 1, np.uint8)
    truth[:10] = 3
    return Page(
        title="drive_000010",
        image=np.full((HEIGHT, WIDTH, 3), 128, np.uint8),
        labels=[Label(0, 0.9, True, True)],
        classes=np.arange(num_maps),
        maps=np.linspace(0, 1, num_maps * HEIGHT * WIDTH).reshape(num_maps, HEIGHT, WIDTH),
        pseudo=truth,
        prediction=truth,
        truth=truth,
    )


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    packed = np.unique(picture.astype(np.int64) @ (65536, 256, 1))
    return {(value >> 16, value >> 8 & 255, value & 255) for value in packed.tolist()}


def mixed(value: int) -> tuple[int, ...]:
    """Return what a class's colour becomes over the grey frame."""
    return tuple((0.8 * PALETTE[value] + 0.2 * 128).round().astype(int).tolist())


@pytest.mark.parametrize("num_maps", [0, 1, 5, 8, 9, 30])
def test_a_page_is_as_wide_with_any_number_of_maps(num_maps: int) -> None:
    picture = draw(page(num_maps), NAMES, PALETTE)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == draw(page(0), NAMES, PALETTE).shape[1:]
    assert picture.shape[1] > 4 * PANEL


def test_the_same_page_is_drawn_the_same_way() -> None:
    assert np.array_equal(draw(page(), NAMES, PALETTE), draw(page(), NAMES, PALETTE))


def test_masks_are_in_the_colours_of_their_classes_and_the_legend_says_which() -> None:
    found = colours(draw(page(), NAMES, PALETTE))
    for value in (1, 3):
        assert mixed(value) in found
        assert tuple(PALETTE[value].tolist()) in found  # in the legend
    assert mixed(2) not in found


@pytest.mark.parametrize(("height", "width"), [(2, 3), (300, 20), (20, 300), (900, 1600)])
def test_frames_of_any_size_keep_their_shape(height: int, width: int) -> None:
    ids = np.ones((height, width), np.uint8)
    image = np.zeros((height, width, 3), np.uint8)
    maps = np.zeros((1, height, width))
    base = replace(page(), image=image, maps=maps, classes=np.array([0]), pseudo=ids, prediction=ids, truth=ids)
    picture = draw(base, NAMES, PALETTE)
    black = (picture == 0).all(axis=2)
    across, down = black.any(axis=0).sum(), black.any(axis=1).sum()
    scale = PANEL / max(height, width)
    assert across == pytest.approx(width * scale, abs=1)
    assert down == pytest.approx(height * scale, abs=1)


def test_without_truth_nothing_is_judged() -> None:
    unknown = replace(page(), truth=None, labels=[Label(0, 0.9, True, None), Label(1, 0.1, False, None)])
    assert WRONG not in colours(draw(unknown, NAMES, PALETTE))


@pytest.mark.parametrize("label", [Label(1, 0.6, True, False), Label(1, None, False, True)])
def test_what_was_wrongly_named_or_missed_is_in_red(label: Label) -> None:
    assert WRONG not in colours(draw(page(), NAMES, PALETTE))
    assert WRONG in colours(draw(replace(page(), labels=[label]), NAMES, PALETTE))


def test_a_frame_without_labels_and_maps_can_be_drawn() -> None:
    empty = np.full((HEIGHT, WIDTH), 255, np.uint8)
    draw(replace(page(0), labels=[], pseudo=empty, truth=empty), NAMES, PALETTE)


def test_many_labels_take_more_lines_and_stay_on_the_page() -> None:
    many = replace(page(), labels=[Label(index, 0.5, True, True) for index in range(30)])
    assert draw(many, NAMES, PALETTE).shape[0] > draw(page(), NAMES, PALETTE).shape[0]
