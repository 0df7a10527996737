"""Maps of large regions half by what their neighbours in the bank are called, all others as they were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.encoders.models import noise
from wildseg.cam.memory import Bank, Origin, Recollection
from wildseg.cam.refinement import Refinement, refine_frame
from wildseg.cam.regions import Regions
from wildseg.methods.refine import memory, propagate

LABELS = np.array([[0, 0, 1, 2], [0, 0, 1, 1]])  # 4, 3 and 1 of 8 patches
TEXTS = np.eye(3, 2)[[0, 1, 2]]  # two classes that are axes, and a phrase that is like neither
FRAMES = (Origin("a", "drive", 0.0), Origin("b", "drive", 10.0), Origin("c", "other", 1.0))


def seen(frame: str = "new", source: str = "drive", time_s: float | None = 5.0) -> Recollection:
    """A frame whose regions are nearest to those of the frames a, b and c of the bank."""
    keys = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float16)
    values = np.array([[1, 0], [0, 0.5], [1, 1]], np.float16)
    bank = Bank(keys, values, np.full(3, 0.2, np.float32), np.arange(3, dtype=np.int32), FRAMES)
    regions = Regions(LABELS, keys.astype(np.float32), np.zeros((3, 2), np.float32), np.array([4, 3, 1]) / 8)
    return Recollection(bank, regions, Origin(frame, source, time_s), TEXTS, [0, 1], 2)


def maps() -> np.ndarray:
    """Two maps (2, 2, 4), of which each has the maximum 1."""
    return np.array([[[1, 0.5, 0, 0.2], [0.3, 0, 0, 0]], [[0, 0, 0.4, 0.6], [0, 0, 1, 0.8]]], np.float32)


def refined(recollection: Recollection, **options: float) -> np.ndarray:
    given: dict[str, Any] = {"neighbours": 1, "scale": 1.0, **options}
    return memory.refine(maps(), noise((16, 32)), recollection, **given)


def says(value: tuple[float, float], scale: float = 1.0) -> np.ndarray:
    """The softmax over two classes and a phrase whose text is zero, by hand."""
    powers = np.exp(scale * np.array([*value, 0.0]))
    return powers[:2] / powers.sum()


def test_a_large_region_is_half_its_maps_and_half_what_its_neighbour_is_called() -> None:
    expected = maps().astype(np.float64)
    for region, value in ((0, (1, 0)), (1, (0, 1))):
        for row, column in np.argwhere(region == LABELS):
            expected[:, row, column] = 0.5 * maps()[:, row, column] + 0.5 * says(value)
    np.testing.assert_allclose(refined(seen(), min_area=0.2), expected, atol=1e-6)


def test_a_small_region_keeps_its_maps() -> None:
    for gate, kept in ((0.125, ()), (0.13, (2,)), (0.5, (1, 2)), (0.6, (0, 1, 2))):
        changed = np.any(refined(seen(), min_area=gate) != maps(), axis=0)
        assert {int(region) for region in np.unique(LABELS[~changed])} == set(kept)


def test_the_share_of_the_map_itself_goes_from_all_to_nothing() -> None:
    np.testing.assert_allclose(refined(seen(), own=1.0), maps())
    none = refined(seen(), own=0.0, scale=40.0)
    np.testing.assert_allclose(none[:, LABELS == 0], np.tile(says((1, 0), 40)[:, None], 4), atol=1e-6)


def test_more_neighbours_than_there_are_is_the_mean_of_all() -> None:
    mean = np.array([2 / 3, 0.5])
    found = refined(seen(), neighbours=20, own=0.0)
    value = mean / np.linalg.norm(mean)
    np.testing.assert_allclose(found[:, 0, 0], says((value[0], value[1])), atol=1e-3)


def test_frames_nearby_are_left_out() -> None:
    far = refined(seen(time_s=5.0), own=0.0, gap_s=4.9)
    near_both = refined(
        seen(time_s=5.0), own=0.0, gap_s=5.0
    )  # a and b are 5 seconds away: c, of another source, is left
    np.testing.assert_allclose(far[:, 0, 0], says((1, 0)), atol=1e-6)
    np.testing.assert_allclose(near_both[:, 0, 0], says((0.5**0.5, 0.5**0.5)), atol=1e-6)


def test_where_the_bank_has_nothing_but_its_own_neighbourhood_the_maps_stay() -> None:
    own = seen("c", "other", 1.0)
    alone = replace(own, bank=replace(own.bank, owners=np.full(3, 2, np.int32)))
    np.testing.assert_array_equal(refined(alone), maps())


def test_a_finer_grid_has_the_region_below_each_cell() -> None:
    fine = np.repeat(np.repeat(maps(), 3, 1), 3, 2)
    found = memory.refine(fine, noise((16, 32)), seen(), neighbours=1)
    np.testing.assert_allclose(found, np.repeat(np.repeat(refined(seen(), scale=40.0), 3, 1), 3, 2), atol=1e-9)


def test_refined_maps_have_the_maximum_they_had_and_go_on_to_the_next_refinement() -> None:
    before = maps() * np.array([1, 0.6], np.float32)[:, None, None]
    found = refine_frame(before, noise((16, 32)), [Refinement(memory)], seen())
    assert (found.shape, found.dtype) == (before.shape, np.float32)
    np.testing.assert_allclose(found.max((1, 2)), before.max((1, 2)), rtol=1e-5)
    both = refine_frame(before, noise((16, 32)), [Refinement(memory), Refinement(propagate)], seen())
    np.testing.assert_array_equal(both, Refinement(propagate).refine_frame(found, noise((16, 32))))


def test_without_a_bank_it_refuses() -> None:
    with pytest.raises(ValueError, match="recollection: expected the regions of the frame and a bank"):
        refine_frame(maps(), noise((16, 32)), [Refinement(memory)])
