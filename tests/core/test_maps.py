"""Maps at the size of their frame, and the score of the background."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wildseg.core.maps import background_score, ids_of_maps, upsample, with_background


def maps_of(*values: float) -> np.ndarray:
    """One pixel, one map per value: (K, 1, 1)."""
    return np.array(values, np.float32).reshape(-1, 1, 1)


@pytest.mark.parametrize("shape", [(168, 224), (37, 113), (21, 28), (9, 11), (1, 1)])
def test_upsampling_equals_torchs_bilinear_with_half_pixel_centres(shape: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).random((6, 21, 28), np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], shape, mode="bilinear")[0]
    np.testing.assert_allclose(upsample(maps, shape), expected.numpy(), atol=2e-6)


def test_a_step_of_two_cells_becomes_quarters_and_a_constant_stays() -> None:
    np.testing.assert_allclose(upsample(np.array([[[0.0, 1.0]]]), (1, 4)), [[[0, 0.25, 0.75, 1]]])
    np.testing.assert_allclose(upsample(np.full((1, 3, 5), 0.3, np.float32), (17, 31)), np.float32(0.3), rtol=1e-6)


def test_maps_in_half_precision_come_out_in_single_and_in_range() -> None:
    large = upsample(np.random.default_rng(0).random((2, 4, 4)).astype(np.float16), (31, 30))
    assert large.dtype == np.float32
    assert large.min() >= 0
    assert large.max() <= 1


def test_no_maps_upsample_to_no_maps() -> None:
    assert upsample(np.zeros((0, 4, 5), np.float32), (8, 10)).shape == (0, 8, 10)


@pytest.mark.parametrize(("alpha", "boundary"), [(1, 0.5), (2, (3 - 5**0.5) / 2), (3, 0.317672), (4, 0.275508)])
def test_a_pixel_is_foreground_from_the_map_value_that_solves_m_equals_1_minus_m_to_alpha(
    alpha: float, boundary: float
) -> None:
    below, above = (with_background(maps_of(boundary + d), alpha)[:, 0, 0] for d in (-1e-5, 1e-5))
    assert below.argmax() == 0
    assert above.argmax() == 1


def test_a_map_value_of_0_4_is_background_for_alpha_1_and_class_for_alpha_2() -> None:
    np.testing.assert_allclose(with_background(maps_of(0.4), 1)[:, 0, 0], [0.6, 0.4], atol=1e-6)
    np.testing.assert_allclose(with_background(maps_of(0.4), 2)[:, 0, 0], [0.36, 0.4], atol=1e-6)


def test_background_wins_a_tie_and_only_the_largest_map_counts() -> None:
    scores = with_background(maps_of(0.2, 0.5, 0.1), 1)[:, 0, 0]
    np.testing.assert_allclose(scores, [0.5, 0.2, 0.5, 0.1], atol=1e-6)
    assert scores.argmax() == 0


def test_without_any_map_everything_is_background() -> None:
    np.testing.assert_array_equal(background_score(np.zeros((0, 2, 3), np.float32), 2), np.ones((2, 3)))


@pytest.mark.parametrize("background", [False, True])
def test_maps_decide_each_pixel_by_the_largest_value_and_the_background_by_what_is_left(background: bool) -> None:
    maps = np.random.default_rng(3).random((2, 6, 8)).astype(np.float32) * 0.9
    ids = ids_of_maps(np.array([0, 4]), maps, (6, 8), background)
    for y, x in np.ndindex(6, 8):
        scores = {1: maps[0, y, x], 5: maps[1, y, x]}
        if background:
            scores = {0: 1 - maps[:, y, x].max(), **scores}
        assert ids[y, x] == max(scores, key=scores.__getitem__)
    assert set(np.unique(ids)) == ({0, 1, 5} if background else {1, 5})


def test_without_any_map_a_frame_is_background_or_undecided() -> None:
    none = np.zeros(0, int), np.zeros((0, 2, 3), np.float32)
    assert (ids_of_maps(*none, (4, 5), background=True) == 0).all()
    assert (ids_of_maps(*none, (4, 5), background=False) == 255).all()
