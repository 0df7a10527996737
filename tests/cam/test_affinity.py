"""CAA against numbers worked out on paper, its limits, and the formula it replaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.cam.configs import caa_params
from wildseg.cam import affinity
from wildseg.cam.affinity import Transition, boxes, spread, transition
from wildseg.cam.maps import normalise

W = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)


def random_attention(tokens: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tokens, tokens, generator=generator, dtype=torch.float64).softmax(-1)


def doubly(weights: Tensor, rounds: int) -> Tensor:
    """Return what stands before the symmetric part is taken."""
    for _ in range(rounds):
        weights = weights / weights.sum(0, keepdim=True)
        weights = weights / weights.sum(1, keepdim=True)
    return weights


def matrix(affinity: Transition) -> Tensor:
    """Return what is otherwise only multiplied with vectors."""
    return affinity @ torch.eye(len(affinity.rows), dtype=affinity.weights.dtype)


def close(found: Tensor, expected: list, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), atol=tolerance, rtol=0)


def test_golden_transition() -> None:
    balanced = doubly(W, 3)
    close(
        balanced,
        [[0.541848, 0.178759, 0.279392], [0.149525, 0.657726, 0.192749], [0.305941, 0.168220, 0.525839]],
    )
    close(balanced.sum(0), [0.997314, 1.004705, 0.997980])
    symmetric = matrix(transition(W, 3))
    close(symmetric[[0, 0, 1], [1, 2, 2]], [0.164142, 0.292667, 0.180484])
    close(
        symmetric @ symmetric,
        [[0.406196, 0.249723, 0.342102], [0.249723, 0.492121, 0.261654], [0.342102, 0.261654, 0.394735]],
    )


def test_golden_refinement_masks_sources_and_not_receivers() -> None:
    maps = torch.tensor([[[1, 0.5, 0]]], dtype=torch.float64)
    mask = torch.tensor([[[1, 1, 0]]], dtype=torch.float64)
    close(spread(maps, transition(W, 3), mask, power=2), [[[0.531057, 0.495783, 0.472929]]])


def test_rows_sum_to_one_after_few_rounds_and_columns_too_after_many() -> None:
    few, many = doubly(random_attention(12), 3), doubly(random_attention(12), 100)
    torch.testing.assert_close(few.sum(1), torch.ones(12, dtype=torch.float64))
    assert (few.sum(0) - 1).abs().max() > 1e-6
    torch.testing.assert_close(many.sum(0), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(matrix(transition(random_attention(12), 100)), (many + many.T) / 2)


def test_uniform_attention_leaves_nothing_to_see() -> None:
    maps = torch.rand(2, 3, 4)
    uniform = torch.full((13, 13), 1 / 13)
    assert normalise(affinity.refine(maps, uniform, caa_params())).abs().max() < 1e-5


def test_attention_of_each_patch_to_itself_keeps_the_map_inside_its_boxes() -> None:
    maps = torch.rand(2, 3, 4)
    refined = affinity.refine(maps, torch.eye(13), caa_params())
    torch.testing.assert_close(refined, (maps * boxes(maps, 0.4)).double())


@pytest.mark.parametrize("power", [1, 2, 3])
def test_applying_the_affinity_repeatedly_equals_masking_the_columns_of_its_power(power: int) -> None:
    maps = torch.rand(3, 2, 4, dtype=torch.float64)
    affinity, mask = transition(random_attention(8), 3), (torch.rand(3, 2, 4) > 0.5).double()
    whole = torch.linalg.matrix_power(matrix(affinity), power)
    expected = [(whole * m.reshape(1, -1)) @ v.reshape(-1) for v, m in zip(maps, mask, strict=True)]
    torch.testing.assert_close(spread(maps, affinity, mask, power), torch.stack(expected).reshape(3, 2, 4))


def test_the_affinity_is_symmetric_and_its_square_positive() -> None:
    affinity = matrix(transition(random_attention(10), 3))
    torch.testing.assert_close(affinity, affinity.T)
    assert torch.linalg.eigvalsh(affinity @ affinity).min() > -1e-12


def test_an_empty_map_has_no_box_and_stays_empty() -> None:
    maps = torch.zeros(1, 3, 4)
    assert not boxes(maps, 0.4).any()
    assert not normalise(affinity.refine(maps, random_attention(13).float(), caa_params())).any()


def test_no_map_at_all_goes_through() -> None:
    assert affinity.refine(torch.zeros(0, 3, 4), torch.eye(13), caa_params()).shape == (0, 3, 4)


def test_boxes_join_components_that_touch_by_a_corner() -> None:
    maps = torch.zeros(1, 5, 6)
    maps[0, 0, 0] = maps[0, 1, 1] = maps[0, 4, 5] = 1
    expected = np.zeros((5, 6))
    expected[:2, :2] = 1
    expected[4, 5] = 1
    np.testing.assert_array_equal(boxes(maps, 0.4)[0], expected)


def test_published_boxes_lose_an_object_in_the_last_corner() -> None:
    maps = torch.zeros(1, 5, 5)
    maps[0, 4, 4] = 1
    assert boxes(maps, 0.4).sum() == 1
    assert boxes(maps, 0.4, clip_edges=True).sum() == 0


def test_boxes_are_those_of_opencv_contours() -> None:
    cv2 = pytest.importorskip("cv2")
    maps = torch.rand(4, 12, 15, generator=torch.Generator().manual_seed(0))
    maps = torch.nn.functional.avg_pool2d(maps[None], 3, 1, 1)[0]
    for image, mask in zip(maps, boxes(maps, 0.85), strict=True):
        scaled = (image.numpy() * 255).astype(np.uint8)
        binary = (scaled > int(0.85 * scaled.max())).astype(np.uint8)
        contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        expected = np.zeros(binary.shape)
        for contour in contours:
            x, y, w, h = cv2.boundingRect(contour)
            expected[y : y + h, x : x + w] = 1
        np.testing.assert_array_equal(mask, expected)


def test_blocks_are_counted_from_the_last_after_leaving_some_out() -> None:
    assert list(affinity.blocks(5, caa_params(layers=2))) == [3, 4]
    assert list(affinity.blocks(5, caa_params(layers=2, skip_last=1))) == [2, 3]
    assert list(affinity.blocks(12, caa_params())) == [
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        11,
    ]  # as published: the last eight of twelve
    assert list(affinity.blocks(5, caa_params(layers=8))) == [0, 1, 2, 3, 4]
    assert list(affinity.blocks(5, caa_params(layers=8, skip_last=9))) == [0]


def test_the_class_token_takes_no_part() -> None:
    maps, attention = torch.rand(1, 2, 3, dtype=torch.float64), random_attention(7)
    expected = spread(maps, transition(attention[1:, 1:], 3), boxes(maps, 0.4), 2)
    torch.testing.assert_close(affinity.refine(maps, attention, caa_params()), expected)


def test_the_matrix_is_left_as_it_was() -> None:
    attention = random_attention(7)
    before = attention.clone()
    affinity.refine(torch.rand(2, 2, 3, dtype=torch.float64), attention, caa_params())
    assert torch.equal(attention, before)


def test_boxes_end_early_only_where_they_are_told_to() -> None:
    maps = torch.zeros(1, 5, 5, dtype=torch.float64)
    maps[0, 4, 4] = 1
    attention = random_attention(26)
    assert affinity.refine(maps, attention, caa_params()).any()
    assert not affinity.refine(maps, attention, caa_params(exclusive_box_ends=True)).any()
