"""Maps of neighbours: which frames take part, and the average against a loop over pixels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from tests.crf.configs import crf_params
from wildseg.core.flow import inside
from wildseg.core.maps import upsample
from wildseg.crf.params import Temporal
from wildseg.crf.temporal import Seen, Step, averaged, neighbouring, ways_to_neighbours

HEIGHT, WIDTH = 48, 64


def temporal(**changes: Any) -> Temporal:  # noqa: ANN401
    return crf_params(**{f"temporal_{name}": value for name, value in {"neighbours": 1, **changes}.items()}).temporal


# Which frames -------------------------------------------------------------------------------------------------------


def frame(name: str, source: str, time_s: float | None, split: str = "train") -> Any:  # noqa: ANN401
    return SimpleNamespace(name=name, source=source, time_s=time_s, split=split)


FRAMES = [
    *(frame(f"a{place}", "a", time) for place, time in enumerate((0.0, 1.0, 1.5, 9.0))),
    *(frame(f"b{place}", "b", time) for place, time in enumerate((0.0, 0.5))),
    *(frame(f"photo{place}", "photos", None) for place in range(3)),
]


def names(frames: Any = FRAMES, between: Any = None, **changes: Any) -> dict[str, list[str]]:  # noqa: ANN401
    ways = ways_to_neighbours(frames, temporal(**changes), between or {})
    return {name: ["".join(step.name + "." * (not step.is_key) for step in way) for way in found]
            for name, found in ways.items()}  # fmt: skip


def test_neighbours_are_of_the_same_video_and_near_in_time() -> None:
    expected = {"a0": ["a1"], "a1": ["a0", "a2"], "a2": ["a1"], "b0": ["b1"], "b1": ["b0"]}
    assert names() == expected
    assert names(FRAMES[::-1]) == expected  # whatever their order in the table
    assert names(within_s=0.5) == {"a1": ["a2"], "a2": ["a1"], "b0": ["b1"], "b1": ["b0"]}
    assert names(neighbours=5) == {**expected, "a0": ["a1a2"], "a2": ["a1a0"]}
    assert names(neighbours=5, within_s=1.2) == expected
    assert names(neighbours=5, within_s=100)["a3"] == ["a2a1a0"]


def test_neighbours_are_of_the_same_split() -> None:
    splits = [
        frame(f"a{place}", "a", place / 10, split) for place, split in enumerate(("train", "train", "test", "test"))
    ]
    assert names(splits, neighbours=3) == {"a0": ["a1"], "a1": ["a0"], "a2": ["a3"], "a3": ["a2"]}
    assert [(one.name, other.name) for one, other in neighbouring(splits, 2.0)["a"]] == [("a0", "a1"), ("a2", "a3")]


def test_pairs_are_successive_and_near() -> None:
    pairs = {
        source: [(one.name, other.name) for one, other in found]
        for source, found in neighbouring(FRAMES[::-1], 2.0).items()
    }
    assert pairs == {"a": [("a0", "a1"), ("a1", "a2")], "b": [("b0", "b1")]}
    assert neighbouring(FRAMES[-3:], 2.0) == {}


def test_frames_in_between_are_passed_in_the_order_of_the_way() -> None:
    between = {("a0", "a1"): ["x", "y"]}
    assert names(between=between)["a0"] == ["x.y.a1"]
    assert names(between=between)["a1"] == ["y.x.a0", "a2"]
    assert names(between=between, neighbours=2)["a2"] == ["a1y.x.a0"]
    (way,) = ways_to_neighbours(FRAMES, temporal(), between)["a0"]
    assert way == (Step("x", False), Step("y", False), Step("a1", True))


# The average --------------------------------------------------------------------------------------------------------


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(HEIGHT + 40, WIDTH + 40, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def view(world: np.ndarray, dx: int) -> np.ndarray:
    """What a camera sees that moved `dx` pixels to the right."""
    return np.ascontiguousarray(world[20 : 20 + HEIGHT, 20 + dx : 20 + dx + WIDTH])


def random_maps(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, HEIGHT, WIDTH)).astype(np.float32)


def test_the_average_is_a_loop_over_pixels() -> None:
    world = texture(0)
    own, other = random_maps(2, 1), random_maps(3, 2)
    classes, others = np.array([1, 4]), np.array([0, 4, 7])
    way = [Seen(view(world, 3), (others, other))]
    found, used, cut = averaged(view(world, 0), classes, own, [way], temporal(weight=0.5))
    assert (used, cut) == (1, 0)
    checked = 0
    for y in range(4, HEIGHT - 4):
        for x in range(8, WIDTH - 4):  # there the flow is found to be -3 and 0, but for hundredths
            neighbour = {int(index): plane[y, x - 3] for index, plane in zip(others, other, strict=True)}
            expected = [(own[k, y, x] + 0.5 * neighbour.get(int(index), 0.0)) / 1.5 for k, index in enumerate(classes)]
            checked += bool(np.abs(found[:, y, x] - expected).max() < 0.05)
    assert checked > 0.97 * (HEIGHT - 8) * (WIDTH - 12)
    unseen = found[:, :, 0]  # what left the picture keeps its own maps
    np.testing.assert_allclose(unseen, own[:, :, 0], atol=1e-6)


def test_a_frame_without_neighbours_or_without_weight_keeps_its_maps() -> None:
    image, maps, classes = view(texture(0), 0), np.random.default_rng(0).random((2, 6, 8)), np.array([0, 1])
    own = upsample(maps, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(averaged(image, classes, maps, [], temporal()).maps, own)
    way = [Seen(image, (classes, maps[::-1]))]
    np.testing.assert_array_equal(averaged(image, classes, maps, [way], temporal(weight=0.0)).maps, own)
    empty = averaged(image, classes[:0], maps[:0], [way], temporal())
    assert empty.maps.shape == (0, HEIGHT, WIDTH)


def test_the_same_frame_on_both_sides_is_the_mean_of_three() -> None:
    image, classes = view(texture(0), 0), np.array([5])
    maps = [np.full((1, 2, 2), value, np.float32) for value in (0.9, 0.3, 0.6)]
    ways = [[Seen(image, (classes, one))] for one in maps[1:]]
    found = averaged(image, classes, maps[0], ways, temporal())
    np.testing.assert_allclose(found.maps, 0.6, atol=1e-6)
    assert found.used == 2
    absent = [[Seen(image, (np.array([2]), maps[1]))]]
    np.testing.assert_allclose(averaged(image, classes, maps[0], absent, temporal()).maps, 0.45, atol=1e-6)


def test_a_cut_adds_nothing_and_what_lies_beyond_it_neither() -> None:
    image, elsewhere, classes = view(texture(0), 0), view(texture(1), 0), np.array([0])
    own, other = np.zeros((1, 3, 4)), np.ones((1, 3, 4))
    way = [Seen(elsewhere, (classes, other)), Seen(image, (classes, other))]
    found = averaged(image, classes, own, [way], temporal(neighbours=2))
    assert (found.used, found.cut) == (0, 1)
    np.testing.assert_array_equal(found.maps, 0)


def test_a_way_ends_where_frames_change_their_size_and_goes_on_where_one_has_no_maps() -> None:
    world, classes = texture(0), np.array([0])
    image, own, other = view(world, 0), np.zeros((1, 3, 4)), np.ones((1, 3, 4))
    small = [Seen(view(world, 0)[:-2], (classes, other)), Seen(image, (classes, other))]
    assert averaged(image, classes, own, [small], temporal()).used == 0
    through = [Seen(view(world, 2), None), Seen(view(world, 4), (classes, other))]
    found = averaged(image, classes, own, [through], temporal())
    assert found.used == 1
    flow = np.full((HEIGHT, WIDTH, 2), (-4, 0), np.float32)
    assert found.maps[0][inside(flow)].mean() == pytest.approx(0.5, abs=0.03)
