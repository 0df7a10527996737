"""The rendered world: repeatable, and its truth agrees with its geometry."""

from dataclasses import replace

import numpy as np
import pytest

from wildseg_demo.world import seeds
from wildseg_demo.world.camera import Pose
from wildseg_demo.world.itinerary import DRIVES
from wildseg_demo.world.layouts import LAYOUTS
from wildseg_demo.world.surfaces import NAMES, Surface
from wildseg_demo.world.terrain import Bend
from wildseg_demo.world.world import HEIGHT, WIDTH, World, build_world


@pytest.fixture(scope="module")
def street() -> World:
    return build_world(7, "street")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(street: World) -> None:
    image, mask = street.render(3.0)
    again, mask_again = build_world(7, "street").render(3.0)
    other, _ = build_world(8, "street").render(3.0)
    assert image.tobytes() == again.tobytes()
    assert mask.tobytes() == mask_again.tobytes()
    assert image.tobytes() != other.tobytes()


def test_a_frame_does_not_depend_on_which_frames_were_rendered_before_it(street: World) -> None:
    late = street.render(5.0)[0]
    street.render(1.0)
    assert np.array_equal(street.render(5.0)[0], late)


def test_a_frame_has_the_promised_shape_and_only_known_ids(street: World) -> None:
    image, mask = street.render(0.5)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert mask.shape == (HEIGHT, WIDTH)
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) <= set(range(1, 11))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_sky_is_above_the_horizon_and_ground_below_it(kind: str) -> None:
    world = build_world(3, kind)
    mask = world.render(2.0)[1]
    up = world.camera.pose_at(world.terrain.bend, 2.0).rays(WIDTH, HEIGHT)[2]
    assert (up[mask == Surface.SKY] > -0.02).all()
    on_the_ground = ~np.isin(mask, (Surface.SKY, Surface.TREE))
    assert (up[on_the_ground] < 0.02).all()


def test_the_middle_of_a_street_shows_what_the_ground_map_holds_there(street: World) -> None:
    pose = street.camera.pose_at(street.terrain.bend, 2.0)
    mask = street.render(2.0)[1]
    checked = 0
    for y in np.arange(4.0, 9.0, 0.5):
        for u in np.arange(-1.5, 1.6, 0.5):
            around = {street.terrain.surface_at(u + du, y + dy) for du in (-0.15, 0, 0.15) for dy in (-0.4, 0, 0.4)}
            column, row, depth = pose.ground_point(u + street.terrain.bend.at(y), y, WIDTH, HEIGHT)
            if len(around) == 1 and depth > 0 and 0 <= column < WIDTH and 0 <= row < HEIGHT:
                assert mask[int(row), int(column)] in (around.pop(), Surface.CURB, Surface.TREE)
                checked += 1
    assert checked > 10


def test_a_ray_through_the_pixel_of_a_ground_point_meets_that_point() -> None:
    pose = Pose(x=0.3, y=2.0, z=0.9, yaw=0.1, pitch=0.2, roll=0.05, field_of_view=1.3)
    column, row, _ = pose.ground_point(0.8, 6.0, WIDTH, HEIGHT)
    east, north, up = (direction[int(row), int(column)] for direction in pose.rays(WIDTH, HEIGHT))
    reach = pose.z / -up
    assert pose.x + reach * east == pytest.approx(0.8, abs=0.05)
    assert pose.y + reach * north == pytest.approx(6.0, abs=0.3)


def test_the_bend_of_the_ground_grid_is_the_bend_of_the_path() -> None:
    bend = Bend(amplitude=1.2, wavelength=30.0, phase=0.4)
    rows = (np.array([0.0, 10.0, 50.0]) + 4.0) / 0.05
    assert bend.by_row[rows.astype(int)] == pytest.approx([bend.at(y) for y in (0.0, 10.0, 50.0)], abs=0.01)


def test_a_curb_hides_what_lies_behind_it() -> None:
    high = build_world(7, "street")
    raised = replace(high, trees=[])
    flat = replace(raised, terrain=replace(high.terrain, curb_height=0.0))
    assert (raised.render(2.0)[1] == Surface.CURB).sum() > (flat.render(2.0)[1] == Surface.CURB).sum()


def test_every_layout_keeps_trees_off_paving_and_out_of_water() -> None:
    for kind in LAYOUTS:
        world = build_world(11, kind)
        standing_on = {world.terrain.surface_at(tree.u, tree.y) for tree in world.trees}
        assert standing_on <= {Surface.LAWN, Surface.SOIL}


def test_lane_lines_are_wide_enough_for_patches_of_eight_pixels() -> None:
    widths = []
    for seed in range(6):
        lane = build_world(seed, "street").terrain.surface == Surface.LANE_LINE
        runs = np.diff(np.flatnonzero(np.diff(np.pad(lane, ((0, 0), (1, 1))).astype(int).ravel())))[::2]
        widths += list(runs[runs < 20] * 0.05)
    assert np.median(widths) >= 0.25


def test_worlds_for_teaching_and_for_testing_are_disjoint() -> None:
    ranges = (seeds.TRAINING, seeds.HELD_OUT, seeds.DRIVE, seeds.TEST_DRIVE)
    assert all(a.stop <= b.start for a, b in zip(ranges, ranges[1:], strict=False))
    assert {leg.seed for leg in DRIVES["drive"]} <= set(seeds.DRIVE)
    assert {leg.seed for leg in DRIVES["test_drive"]} <= set(seeds.TEST_DRIVE)


def test_the_names_of_the_surfaces_follow_their_ids() -> None:
    assert len(NAMES) == 10
    assert NAMES[Surface.RED_BRICK_PATH - 1] == "red_brick_path"
