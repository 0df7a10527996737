"""Global sampling and anatomy: counters by hand, against plain loops, and saved with their network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.cam.networks.location_prior import LocationPrior


def sampled(masks: Tensor, side: int) -> LocationPrior:
    """The prior of masks (N, C, H, W)."""
    prior = LocationPrior(masks.shape[1], side)
    prior.sample(masks)
    return prior


def random_masks(number: int = 5, classes: int = 3, side: int = 6) -> Tensor:
    return torch.rand(number, classes, side, side, generator=torch.Generator().manual_seed(0)) < 0.3


def test_the_counter_starts_from_one() -> None:
    masks = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
    masks[:, 0, 0, 0] = True  # always
    masks[:2, 0, 0, 1] = True  # in two of four
    prior = sampled(masks, 2)
    assert prior.dictionary[0].tolist() == [[1.25, 0.75], [0.25, 0.25]]
    assert prior.probability[0].tolist() == [[0.25, 0.75], [1.25, 1.25]]


@pytest.mark.parametrize("number", [1, 7])
def test_identical_masks_give_one_more_than_their_sum(number: int) -> None:
    mask = random_masks(1)[0]
    prior = sampled(mask.expand(number, -1, -1, -1), 6)
    torch.testing.assert_close(prior.dictionary, (1 + number * mask.float()) / number)


def test_it_counts_as_a_plain_loop_does() -> None:
    masks = random_masks()
    masks[3] = False  # a frame without any class
    counts = np.ones((4, 6, 6))
    for frame in masks.numpy():
        for row in range(6):
            for column in range(6):
                found = [c for c in range(3) if frame[c, row, column]]
                for c in found:
                    counts[c + 1, row, column] += 1
                if not found:
                    counts[0, row, column] += 1
    prior = sampled(masks, 6)
    np.testing.assert_allclose(prior.probability, counts / 5, rtol=1e-6)
    assert prior.frames.tolist() == [5, 4, 4, 4]


def test_masks_of_any_size_are_brought_to_the_grid_by_nearest_neighbours() -> None:
    mask = torch.zeros(1, 1, 2, 3, dtype=torch.bool)
    mask[0, 0, 0, 1] = True
    prior = sampled(mask, 6)
    assert (prior.dictionary[0] == 2).nonzero().tolist() == [[y, x] for y in range(3) for x in (2, 3)]
    large = random_masks(side=12)
    torch.testing.assert_close(sampled(large, 6).probability, sampled(large[..., ::2, ::2], 6).probability)


def test_sampling_begins_anew_each_time_and_needs_a_frame() -> None:
    prior = sampled(random_masks(), 6)
    prior.sample(random_masks(2))
    torch.testing.assert_close(prior.probability, sampled(random_masks(2), 6).probability)
    with pytest.raises(ValueError, match="at least one frame"):
        prior.sample([])


def test_one_frame_is_enough_for_a_place_to_be_possible() -> None:
    masks = random_masks()
    prior = sampled(masks, 6)
    assert torch.equal(prior.anatomy(), masks.any(0).float())
    # As the published code has it, where some place is never active.
    least = prior.dictionary.amin((1, 2), keepdim=True)
    assert torch.equal(prior.anatomy(), (prior.dictionary > least).float())


def test_a_place_that_is_always_active_is_possible_though_no_other_is_less_so() -> None:
    prior = sampled(torch.ones(3, 1, 2, 2, dtype=torch.bool), 2)
    assert prior.anatomy().tolist() == [[[1, 1], [1, 1]]]


def test_a_share_is_of_the_frames_with_the_class() -> None:
    masks = torch.zeros(10, 2, 1, 2, dtype=torch.bool)
    masks[:4, 0, 0, 0] = True  # in all four frames with the first class
    masks[:1, 0, 0, 1] = True  # in one of them
    prior = sampled(F.pad(masks, (0, 0, 0, 1)), 2)
    assert prior.anatomy(0.0)[0].tolist() == [[1, 1], [0, 0]]
    assert prior.anatomy(0.25)[0].tolist() == [[1, 0], [0, 0]]
    assert prior.anatomy(0.0)[1].tolist() == [[1, 1], [1, 1]]  # a class that no frame has may be everywhere


def test_many_frames_do_not_round_a_count_away() -> None:
    prior = LocationPrior(1, 2)
    number = 2_000_000
    prior.frames.copy_(torch.tensor([number, number]))
    counts = torch.tensor([[0, 1], [number - 1, number]])
    prior.probability[1] = ((1 + counts) / number).float()
    assert prior.anatomy()[0].tolist() == [[0, 1], [1, 1]]


def test_it_is_saved_with_its_network() -> None:
    prior = sampled(random_masks(), 6)
    again = LocationPrior(3, 6)
    assert torch.equal(again.anatomy(), torch.ones(3, 6, 6))
    again.load_state_dict(prior.state_dict())
    assert torch.equal(again.probability, prior.probability)
    assert torch.equal(again.anatomy(0.3), prior.anatomy(0.3))
