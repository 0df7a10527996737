"""True flow of the rendered world: against its projection, its pictures and its truth masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from wildseg.core.flow import warp, warp_ids
from wildseg_demo.world.motion import motion
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.world import HEIGHT, WIDTH, World, build_world


@pytest.fixture(scope="module")
def park() -> World:
    return build_world(7, "park")


def test_nothing_moves_where_the_camera_does_not(park: World) -> None:
    flow, known, visible = motion(park, 3.0, 3.0)
    np.testing.assert_allclose(flow[known], 0, atol=1e-3)
    assert known.mean() > 0.8
    np.testing.assert_array_equal(visible, known)


def test_points_on_the_ground_move_as_the_camera_projects_them(park: World) -> None:
    flow, known, _ = motion(park, 2.0, 2.8)
    here, there = (park.camera.pose_at(park.terrain.bend, metres) for metres in (2.0, 2.8))
    mask = park.render(2.0)[1]
    checked = 0
    for y in np.arange(4.0, 12.0, 0.5):
        for x in np.arange(-3.0, 3.0, 0.5):
            column, row, _ = here.ground_point(x, y, WIDTH, HEIGHT)
            if not (2 <= column < WIDTH - 2 and 2 <= row < HEIGHT - 2):
                continue
            pixel = int(row), int(column)
            if not known[pixel] or mask[pixel] in (Surface.TREE, Surface.SKY):
                continue
            to_column, to_row, _ = there.ground_point(x, y, WIDTH, HEIGHT)
            expected = np.array([to_column - column, to_row - row])
            assert np.abs(flow[pixel] - expected).max() < 0.05 * np.abs(expected).max() + 0.5
            checked += 1
    assert checked > 30


@pytest.mark.parametrize(("seed", "kind"), [(7, "park"), (3, "street"), (5, "trail")])
def test_along_the_flow_truth_and_picture_stay_what_they_are(seed: int, kind: str) -> None:
    world = build_world(seed, kind)
    (image, mask), (later, mask_later) = world.render(2.0), world.render(2.8)
    flow, _, visible = motion(world, 2.0, 2.8)
    assert 0.3 < visible.mean() < 1
    same = warp_ids(mask_later, flow) == mask
    assert same[visible].mean() > 0.95  # the nearest pixel, at ragged borders, may be of the other class
    assert same[visible].mean() > (mask == mask_later)[visible].mean() + 0.02
    smooth = [cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.5) for picture in (image, later)]
    warped = np.moveaxis(warp(np.moveaxis(smooth[1], 2, 0), flow), 0, 2)
    error, still = (np.abs(picture - smooth[0]).mean(axis=2)[visible].mean() for picture in (warped, smooth[1]))
    assert error < 0.7 * still


def test_what_leaves_the_picture_or_is_passed_is_not_visible(park: World) -> None:
    _, known, visible = motion(park, 2.0, 5.0)
    assert known[-1].mean() < 0.5 or visible[-1].mean() == 0  # the ground before the wheels is behind the camera
    assert visible.sum() < known.sum()
