"""Boxes on grids, against what a box covers when it is drawn pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from wildseg.cam.boxes import cells_inside


def rows(*boxes: tuple[float, ...]) -> np.ndarray:
    return np.array([(*box, 1.0) for box in boxes], float).reshape(-1, 6)


def test_a_cell_is_inside_if_the_box_covers_a_pixel_of_it() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        x0, x1 = sorted(rng.integers(0, 65, 2).tolist())
        y0, y1 = sorted(rng.integers(0, 49, 2).tolist())
        drawn = np.zeros((48, 64), bool)
        drawn[y0:y1, x0:x1] = True
        expected = drawn.reshape(6, 8, 8, 8).any((1, 3))
        assert (cells_inside(rows((x0, y0, x1, y1, 1)), (64, 48), [0], (6, 8))[0] == expected).all()


def test_each_class_has_its_own_boxes_and_several_are_joined() -> None:
    boxes = rows((0, 0, 8, 8, 3), (56, 40, 64, 48, 3), (0, 0, 64, 8, 1), (0, 0, 64, 48, 9))
    found = cells_inside(boxes, (64, 48), [0, 1, 2], (6, 8))
    assert found.sum((1, 2)).tolist() == [8, 0, 2]
    assert found[2, 0, 0]
    assert found[2, 5, 7]


def test_boxes_outside_of_the_frame_are_cut_off() -> None:
    found = cells_inside(
        rows((-100, -5, 9, 4, 1), (60, 47, 1e6, 1e6, 2), (70, 0, 90, 48, 3)), (64, 48), [0, 1, 2], (6, 8)
    )
    assert np.argwhere(found[0]).tolist() == [[0, 0], [0, 1]]
    assert np.argwhere(found[1]).tolist() == [[5, 7]]
    assert not found[2].any()


@pytest.mark.parametrize("factor", [0.5, 2.0, 10.0])
def test_boxes_of_a_frame_of_another_size_scale_along(factor: float) -> None:
    box = np.array([10.0, 5.0, 30.0, 20.0])
    scaled = rows((*(box * factor), 1))
    size = (int(60 * factor), int(40 * factor))
    assert (cells_inside(scaled, size, [0], (8, 12)) == cells_inside(rows((*box, 1)), (60, 40), [0], (8, 12))).all()


@pytest.mark.parametrize(("length", "cells", "border"), [(50, 14, 25), (102, 18, 85), (94, 6, 47), (66, 18, 55)])
def test_rounding_makes_no_cell_inside_that_a_box_only_borders_on(length: int, cells: int, border: int) -> None:
    # In floating point the border lies a hair beyond the edge of a cell, or before it.
    edge = border * cells // length
    assert edge * length == border * cells
    assert border * (cells / length) != edge
    before = cells_inside(rows((0, 0, border, 8, 1)), (length, 8), [0], (1, cells))[0, 0]
    behind = cells_inside(rows((border, 0, length, 8, 1)), (length, 8), [0], (1, cells))[0, 0]
    assert before.tolist() == [cell < edge for cell in range(cells)]
    assert behind.tolist() == [cell >= edge for cell in range(cells)]
