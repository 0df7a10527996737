"""Sheets of boxes, points and scribbles: colours are where they belong, and no number covers another."""

from __future__ import annotations

import numpy as np

from wildseg.core.colours import palette
from wildseg.report.drawing import GAP, PANEL
from wildseg.report.weak import draw

NAMES = ("background", "lawn", "road", "sky")
PALETTE = palette(NAMES[1:])
GREY = np.full((60, 80, 3), 100, np.uint8)  # enlarged four times: panels of 320x240 pixels
NONE = np.full((60, 80), 255, np.uint8)
NO_BOXES, NO_POINTS = np.zeros((0, 6)), np.zeros((0, 3), int)


def panel(sheet: np.ndarray, number: int) -> np.ndarray:
    top = next(row for row in range(len(sheet)) if (sheet[row, GAP : GAP + PANEL] == 100).all())
    left = GAP + number * (PANEL + GAP)
    return sheet[top : top + 240, left : left + 320]


def test_a_box_is_drawn_around_its_pixels_in_the_colour_of_its_class() -> None:
    box = np.array([[10, 20, 50, 40, 2, 0.5]])
    shown = panel(draw("a", GREY, box, NO_POINTS, NONE, NAMES, PALETTE), 1)
    red = (shown == PALETTE[2]).all(2)
    rows, columns = np.nonzero(red)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (80, 159, 40, 199)
    assert red[80, 40:200].all()
    assert red[159, 40:200].all()
    assert red[80:160, 40].all()
    assert red[80:160, 199].all()
    assert not red[110:150, 90:190].any()


def test_scores_of_boxes_in_one_corner_stand_below_each_other() -> None:
    boxes = np.array([[0, 0, 80 - 9 * k, 60 - 9 * k, 1 + k, 0.9 - k / 5] for k in range(3)])
    shown = panel(draw("a", GREY, boxes, NO_POINTS, NONE, NAMES, PALETTE), 1)
    corner = shown[:100, 4:24]  # without the lines on the left and below
    first, second, third = (np.flatnonzero((corner == PALETTE[value]).all(2).sum(1) > 5) for value in (1, 2, 3))
    assert first.max() < second.min()  # the best comes first
    assert second.max() < third.min()
    assert min(map(len, (first, second, third))) > 5


def test_boxes_that_no_number_has_room_for_are_drawn_without_it() -> None:
    boxes = np.array([[0, 59, 80, 60, 1, 0.9], [79.9, 0, 80, 0.01, 2, 0.5]])
    shown = panel(draw("a", GREY, boxes, NO_POINTS, NONE, NAMES, PALETTE), 1)
    assert (shown[236] == PALETTE[1]).all()


def test_a_point_is_where_its_pixel_is() -> None:
    points = np.array([[10, 20, 3], [70, 5, 0]])
    shown = panel(draw("a", GREY, NO_BOXES, points, NONE, NAMES, PALETTE), 2)
    for x, y, value in points.tolist():
        rows, columns = np.nonzero((shown == PALETTE[value]).all(2))
        assert abs(rows.mean() + 0.5 - 4 * (y + 0.5)) < 1
        assert abs(columns.mean() + 0.5 - 4 * (x + 0.5)) < 1


def test_scribbles_have_the_pure_colours_of_their_classes() -> None:
    ids = NONE.copy()
    ids[10:13, 5:50], ids[40:43, 30:60] = 1, 0
    shown = panel(draw("a", GREY, NO_BOXES, NO_POINTS, ids, NAMES, PALETTE), 3)
    large = np.kron(ids, np.ones((4, 4), np.uint8))
    for value in (0, 1):
        assert ((shown == PALETTE[value]).all(2) == (large == value)).all()


def test_lines_of_a_large_frame_stay_visible() -> None:
    large, ids = np.full((1200, 1600, 3), 100, np.uint8), np.full((1200, 1600), 255, np.uint8)
    ids[600:603, 200:1400] = 2  # three of 1200 rows, shown as 240
    shown = panel(draw("a", large, NO_BOXES, NO_POINTS, ids, NAMES, PALETTE), 3)
    assert np.abs(shown[120, 50:270].astype(int) - PALETTE[2].astype(int)).max() < 5
    assert (shown[[110, 130]] == 114).all()
