"""Flow against known motions, and warping against plain loops."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from wildseg.core.flow import Track, consistent, extended, inside, optical_flow, tracks, warp, warp_ids

HEIGHT, WIDTH = 96, 128


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth noise, (height, width) uint8 of full contrast."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def shifted(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """Two views of a texture: what is at (x, y) in the first is at (x + dx, y + dy) in the second."""
    world = texture(HEIGHT + 40, WIDTH + 40)
    first, second = (world[20 - y : 20 - y + HEIGHT, 20 - x : 20 - x + WIDTH] for x, y in ((0, 0), (dx, dy)))
    return first, second


def constant(dx: float, dy: float) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 2), (dx, dy), np.float32)


# Known motions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, 0), (0, -2), (-5, 4), (9, -6)])
def test_the_flow_of_a_shift_is_the_shift(dx: int, dy: int) -> None:
    one, other = shifted(dx, dy)
    ((flow, agrees),) = tracks([one, other])
    within = inside(constant(dx, dy))
    error = np.hypot(flow[..., 0] - dx, flow[..., 1] - dy)
    assert flow.shape == (HEIGHT, WIDTH, 2)
    assert flow.dtype == np.float32
    assert np.median(error[within]) < 0.05
    assert error[within & agrees].mean() < 0.1
    assert agrees[within].mean() > 0.95
    assert agrees[~within].mean() < 0.05 if (~within).any() else True


@pytest.mark.parametrize("factor", [1.05, 0.95, 1.12])
def test_the_flow_of_a_zoom_grows_from_the_centre(factor: float) -> None:
    one = texture(HEIGHT, WIDTH)
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    centre_x, centre_y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    sources = ((x - centre_x) / factor + centre_x, (y - centre_y) / factor + centre_y)
    other = cv2.remap(one, *sources, cv2.INTER_CUBIC, None, cv2.BORDER_REFLECT)  # type: ignore[call-overload]
    truth = np.stack([(x - centre_x) * (factor - 1), (y - centre_y) * (factor - 1)], axis=2)
    ((flow, agrees),) = tracks([one, other])
    error = np.linalg.norm(flow - truth, axis=2)
    assert agrees[inside(truth)].mean() > 0.9
    assert error[agrees].mean() < 0.2  # of up to 8 pixels


def test_what_is_hidden_behind_a_square_is_not_consistent() -> None:
    one, other = texture(HEIGHT, WIDTH), texture(HEIGHT, WIDTH)
    square = texture(40, 40, seed=1)
    one[30:70, 30:70] = square
    other[30:70, 42:82] = square  # it moves 12 pixels to the right, before a background that stands still
    ((_, agrees),) = tracks([one, other])
    hidden = np.zeros(one.shape, bool)
    hidden[34:66, 71:81] = True  # seen in the first frame alone
    assert agrees[34:66, 34:66].mean() > 0.95
    assert agrees[hidden].mean() < 0.2
    assert agrees[:, 90:].mean() > 0.97


def test_frames_of_different_places_agree_on_little() -> None:
    ((_, agrees),) = tracks([texture(HEIGHT, WIDTH, seed=1), texture(HEIGHT, WIDTH, seed=2)])
    assert agrees.mean() < 0.3


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (11, 64), (64, 11)])
def test_frames_may_be_tiny(shape: tuple[int, int]) -> None:
    one = texture(HEIGHT, WIDTH)[: shape[0], : shape[1]]
    flow = optical_flow(one, one)
    assert flow.shape == (*shape, 2)
    np.testing.assert_allclose(flow, 0, atol=1e-3)


def test_colours_count_by_their_grey_and_threads_change_no_bit() -> None:
    one, other = shifted(4, 3)
    grey = optical_flow(one, other)
    threads = cv2.getNumThreads()
    try:
        for number in (1, 2, 5, 16):
            cv2.setNumThreads(number)
            colour = optical_flow(*(np.repeat(image[..., None], 3, axis=2) for image in (one, other)))
            np.testing.assert_array_equal(colour, grey)
    finally:
        cv2.setNumThreads(threads)


# Loops ---------------------------------------------------------------------------------------------------------------


def random_flow(seed: int, shape: tuple[int, int] = (7, 9)) -> np.ndarray:
    steps = np.random.default_rng(seed).integers(-3 * 32, 3 * 32, (*shape, 2))
    return (steps / 32).astype(np.float32)  # places that OpenCV does not round


def at(plane: np.ndarray, x: float, y: float) -> float:
    """The value of a plane between its pixels, 0 outside."""
    left, top = int(np.floor(x)), int(np.floor(y))
    value = 0.0
    for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                value += float(plane[row, column]) * down * across
    return value


def test_warping_is_a_loop_over_pixels() -> None:
    flow, values = random_flow(0), np.random.default_rng(1).random((3, 7, 9)).astype(np.float32)
    ids = np.random.default_rng(2).integers(0, 5, (7, 9)).astype(np.uint8)
    warped, warped_ids, within = warp(values, flow), warp_ids(ids, flow), inside(flow)
    for y in range(7):
        for x in range(9):
            column, row = x + float(flow[y, x, 0]), y + float(flow[y, x, 1])
            expected = [at(plane, column, row) for plane in values]
            np.testing.assert_allclose(warped[:, y, x], expected, atol=1e-5)
            nearest = round(row), round(column)  # to even, as numpy does
            is_there = 0 <= nearest[0] < 7 and 0 <= nearest[1] < 9
            assert warped_ids[y, x] == (ids[nearest] if is_there else 255)
            assert within[y, x] == (0 <= column <= 8 and 0 <= row <= 6)
    assert warp(values[:0], flow).shape == (0, 7, 9)
    np.testing.assert_array_equal(warp(values, np.zeros_like(flow)), values)
    np.testing.assert_array_equal(warp_ids(ids, np.zeros_like(flow)), ids)


def test_the_check_is_the_published_inequality() -> None:
    forward, backward = random_flow(3), random_flow(4)
    found = consistent(forward, backward)
    planes = np.moveaxis(backward, 2, 0)
    for y in range(7):
        for x in range(9):
            w = forward[y, x].astype(float)
            column, row = x + w[0], y + w[1]
            back = np.array([at(plane, column, row) for plane in planes])
            near = ((w + back) ** 2).sum() < 0.01 * ((w**2).sum() + (back**2).sum()) + 0.5
            assert found[y, x] == (near and 0 <= column <= 8 and 0 <= row <= 6)
    assert 0 < found.sum() < found.size


def test_a_track_adds_up_its_steps() -> None:
    one, two = constant(3, -1), constant(2, 2)
    known = np.ones((HEIGHT, WIDTH), bool)
    broken = known.copy()
    broken[50, 60] = False
    flow, agrees = extended(Track(one, known), Track(two, broken))
    stays = inside(one)
    np.testing.assert_allclose(flow[stays], np.broadcast_to((5, 1), (int(stays.sum()), 2)))
    expected = stays.copy()
    expected[51, 57] = False  # which moves to (60, 50)
    np.testing.assert_array_equal(agrees, expected)


def test_small_steps_reach_farther_than_one_large_one() -> None:
    world = texture(HEIGHT, WIDTH + 120)
    frames = [world[:, 60 - 12 * step : 60 - 12 * step + WIDTH] for step in range(5)]
    *_, (flow, agrees) = tracks(frames)
    ((direct, agrees_directly),) = tracks([frames[0], frames[-1]])
    right = np.hypot(flow[..., 0] - 48, flow[..., 1]) < 1
    right_directly = np.hypot(direct[..., 0] - 48, direct[..., 1]) < 1
    assert right[agrees].mean() > 0.97
    assert (right & agrees).sum() > 1.2 * (right_directly & agrees_directly).sum()
