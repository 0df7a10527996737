"""Coverage of boxes and what may be said of them, against brute force."""

import numpy as np

from wildseg_demo.tiny_clip.dataset import CLASSES, PATCH
from wildseg_demo.tiny_clip.regions import absent, box_coverage, cell_coverage, cell_masks, draw_regions, visible
from wildseg_demo.world.surfaces import Surface


def _random_mask(rows: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(1, CLASSES + 1, (rows * 2, columns * 2)).astype(np.uint8)
    return coarse.repeat(PATCH // 2, 0).repeat(PATCH // 2, 1)


def test_coverage_of_a_cell_is_the_share_of_its_pixels() -> None:
    mask = _random_mask(3, 5)
    cells = cell_coverage(mask)
    assert cells.shape == (3, 5, CLASSES)
    for row in range(3):
        for column in range(5):
            pixels = mask[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            assert np.allclose(cells[row, column], [(pixels == surface).mean() for surface in Surface])


def test_coverage_of_a_box_is_the_share_of_its_pixels() -> None:
    mask = _random_mask(6, 7)
    boxes = np.array([[0, 0, 6, 7], [1, 2, 3, 6], [5, 6, 6, 7]])
    for box, coverage in zip(boxes, box_coverage(cell_coverage(mask), boxes), strict=True):
        top, left, bottom, right = box * PATCH
        pixels = mask[top:bottom, left:right]
        assert np.allclose(coverage, [(pixels == surface).mean() for surface in Surface], atol=1e-6)


def test_boxes_lie_in_the_crop_and_the_first_is_the_crop() -> None:
    regions = draw_regions(cell_coverage(_random_mask(12, 12)), 40, np.random.default_rng(1))
    top, left, bottom, right = regions.boxes.T
    assert regions.boxes.shape == (40, 4)
    assert regions.boxes[0].tolist() == [0, 0, 12, 12]
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (bottom <= 12).all()
    assert (right <= 12).all()
    assert (bottom - top >= 2).all()
    assert (right - left >= 2).all()
    assert np.allclose(regions.coverage.sum(1), 1, atol=1e-5)


def test_between_absent_and_visible_nothing_is_said() -> None:
    coverage = np.zeros((1, CLASSES), np.float32)
    coverage[0, Surface.LAWN - 1] = 0.9
    coverage[0, Surface.SOIL - 1] = 0.04
    coverage[0, Surface.LANE_LINE - 1] = 0.06
    assert np.flatnonzero(visible(coverage)[0]).tolist() == [Surface.LANE_LINE - 1, Surface.LAWN - 1]
    assert not absent(coverage)[0, Surface.SOIL - 1]
    assert absent(coverage)[0, Surface.WATER - 1]


def test_cell_masks_mark_the_cells_of_a_box() -> None:
    inside = cell_masks(np.array([[[0, 1, 2, 3]]]), rows=3, columns=4)
    assert inside.shape == (1, 1, 12)
    assert inside.reshape(3, 4).astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
