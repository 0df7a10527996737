"""Targets and loss of L2G against plain loops and numbers worked out on paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from wildseg.cam.networks.transfer import at_patches, attention_target, shape_target, transfer_loss

LABELS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention_loops(maps: Tensor, labels: Tensor) -> Tensor:
    result = torch.zeros_like(maps)
    for number, one in enumerate(maps):
        peaks = [max(0.0, float(channel.max())) for channel in one]
        for y in range(one.shape[1]):
            for x in range(one.shape[2]):
                values = [max(0.0, float(one[c, y, x])) / (peaks[c] + 1e-8) for c in range(len(one))]
                values = [0.0 if c < len(one) - 1 and not labels[number, c] else v for c, v in enumerate(values)]
                best = max(range(len(one)), key=lambda c: (values[c], -c))
                result[number, best, y, x] = values[best]
    return result


# Attention -----------------------------------------------------------------------------------------------------------


def test_the_attention_target_is_that_of_plain_loops() -> None:
    maps = drawn(2, 4, 5, 6)
    torch.testing.assert_close(attention_target(maps, LABELS), attention_loops(maps, LABELS))


def test_each_cell_has_at_most_one_channel() -> None:
    target = attention_target(drawn(2, 4, 5, 6), LABELS)
    held = (target > 0).sum(1)
    assert int(held.max()) == 1
    assert (target[0, 1] == 0).all()
    assert (target[1, :2] == 0).all()


def test_the_background_is_never_cleared() -> None:
    maps = torch.zeros(1, 4, 1, 2)
    maps[0, :, 0, 0] = torch.tensor([5.0, 6.0, 7.0, 2.0])
    target = attention_target(maps, torch.zeros(1, 3))
    torch.testing.assert_close(target[0, :, 0, 0], torch.tensor([0.0, 0.0, 0.0, 1.0]))


def test_equal_channels_keep_the_first_and_no_channel_stays_none() -> None:
    maps = torch.zeros(1, 4, 1, 2)
    maps[0, :, 0, 0] = 3.0
    target = attention_target(maps, torch.ones(1, 3))
    torch.testing.assert_close(target[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert (target[0, :, 0, 1] == 0).all()


def test_the_target_has_no_gradient() -> None:
    assert not attention_target(drawn(1, 4, 3, 3).requires_grad_(), torch.ones(1, 3)).requires_grad


# Shape ---------------------------------------------------------------------------------------------------------------


def test_a_cell_of_a_class_gets_its_saliency_and_one_of_the_background_what_is_left() -> None:
    # Class values (.6, .3), background .5, saliency .8: class 0 holds the cell. Then the background does, at .9.
    attention = attention_target(
        torch.tensor([[[[1.0, 0.6, 0.6]], [[1.0, 0.3, 0.3]], [[1.0, 0.5, 0.9]]]]), torch.ones(1, 2)
    )
    target = shape_target(attention, torch.full((1, 1, 1, 3), 0.8), 0.001, "indicator")
    torch.testing.assert_close(target[0, :, 0, 1], torch.tensor([0.8, 0.0, 0.0]))
    torch.testing.assert_close(target[0, :, 0, 2], torch.tensor([0.0, 0.0, 0.2]))
    valued = shape_target(attention, torch.full((1, 1, 1, 3), 0.8), 0.001, "value")
    torch.testing.assert_close(valued[0, :, 0, 1], torch.tensor([0.8, 0.0, 0.0]))
    torch.testing.assert_close(valued[0, :, 0, 2], torch.tensor([0.0, 0.0, 0.9 * 0.2]))


def test_what_does_not_exceed_the_threshold_holds_nothing() -> None:
    attention = torch.tensor([[[[0.1, 0.11, 0.0]], [[0.0, 0.0, 0.1]]]])
    target = shape_target(attention, torch.full((1, 1, 1, 3), 0.5), 0.1, "indicator")
    torch.testing.assert_close(target, torch.tensor([[[[0.0, 0.5, 0.0]], [[0.0, 0.0, 0.0]]]]))


@pytest.mark.parametrize("background", ["indicator", "value"])
def test_salient_everywhere_has_no_background_and_salient_nowhere_no_class(background: str) -> None:
    attention = attention_target(drawn(2, 4, 5, 6), LABELS)
    all_of_it = shape_target(attention, torch.ones(2, 1, 40, 48), 0.001, background)
    assert (all_of_it[:, -1] == 0).all()
    assert torch.equal(all_of_it[:, :-1], (attention[:, :-1] > 0.001).float())
    nothing = shape_target(attention, torch.zeros(2, 1, 40, 48), 0.001, background)
    assert (nothing[:, :-1] == 0).all()
    assert (nothing[:, -1] > 0).any()


def test_saliency_is_read_at_the_first_pixel_of_each_cell() -> None:
    attention = torch.zeros(1, 2, 2, 3)
    attention[:, 0] = 1
    saliency = torch.rand(1, 1, 16, 24)
    target = shape_target(attention, saliency, 0.001, "indicator")
    torch.testing.assert_close(target[0, 0], saliency[0, 0, ::8, ::8])


# RoIAlign and the loss -----------------------------------------------------------------------------------------------


def shifted(maps: Tensor, y: float, x: float) -> Tensor:
    """The maps (C, h, w) at cell coordinates, half a cell further down and right; beyond the last centre it is held."""
    height, width = maps.shape[1:]
    y, x = min(y + 0.5, height - 1), min(x + 0.5, width - 1)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = maps[:, top, left] * (1 - dx) + maps[:, top, right] * dx
    lower = maps[:, below, left] * (1 - dx) + maps[:, below, right] * dx
    return upper * (1 - dy) + lower * dy


@pytest.mark.parametrize(("left", "top"), [(0, 0), (16, 8), (3, 21)])
def test_maps_in_a_patch_are_bilinear_samples_half_a_cell_off(left: int, top: int) -> None:
    maps, side = drawn(2, 3, 7, 8), 32
    found = at_patches(maps, torch.tensor([[1.0, left, top, left + side, top + side]]), torch.Size((4, 4)), 8)
    for y in range(4):
        for x in range(4):
            wanted = shifted(maps[1], top / 8 + y, left / 8 + x)
            torch.testing.assert_close(found[0, :, y, x], wanted, rtol=1e-5, atol=1e-6)


def test_one_sample_in_a_cell_is_what_an_adaptive_number_of_them_comes_to() -> None:
    maps = drawn(2, 3, 14, 14)
    boxes = torch.tensor([[0.0, 0, 0, 80, 80], [1, 32, 17, 112, 97], [1, 5, 3, 85, 83]])
    adaptive = roi_align(maps, boxes, (10, 10), 1 / 8, aligned=False)
    assert torch.equal(at_patches(maps, boxes, torch.Size((10, 10)), 8), adaptive)


def test_the_loss_is_the_mean_square_over_patches_channels_and_cells() -> None:
    maps, target = drawn(2, 3, 2, 2), torch.rand(2, 3, 2, 2)
    total = 0.0
    for number in range(2):
        for y in range(2):
            for x in range(2):
                powers = [math.exp(float(v)) for v in maps[number, :, y, x]]
                shares = [power / sum(powers) for power in powers]
                assert sum(shares) == pytest.approx(1)
                total += sum((s - float(t)) ** 2 for s, t in zip(shares, target[number, :, y, x], strict=True))
    assert float(transfer_loss(maps, target)) == pytest.approx(total / (2 * 3 * 4), rel=1e-5)


def test_maps_whose_softmax_is_the_target_have_no_loss() -> None:
    maps = drawn(2, 3, 2, 2)
    target = maps.softmax(1)
    torch.testing.assert_close(target.sum(1), torch.ones(2, 2, 2))
    assert float(transfer_loss(maps + 5, target)) == pytest.approx(0, abs=1e-12)
