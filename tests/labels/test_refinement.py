"""Dual-masking attention refinement: votes and boxes by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wildseg.cam.affinity import boxes
from wildseg.labels.refinement import VotingRecorder, bounding_box, min_max, refine


def with_cls(patches: torch.Tensor) -> torch.Tensor:
    """Weights (1, T, T) whose part between patches is given."""
    return torch.nn.functional.pad(patches, (1, 0, 1, 0))[None]


def test_a_pair_of_patches_needs_so_many_blocks_above_their_own_means() -> None:
    # Means .4, .25 and .1: the first two blocks find (0, 0) related, the last two (1, 0).
    blocks = [[[0.9, 0.3], [0.3, 0.1]], [[0.5, 0.0], [0.4, 0.1]], [[0.0, 0.1], [0.2, 0.1]]]
    recorder = VotingRecorder(averaged=(0, 1))
    for number, block in enumerate(blocks):
        recorder.accumulate(number, with_cls(torch.tensor(block)))
    torch.testing.assert_close(recorder.votes.int(), torch.tensor([[2, 0], [2, 0]], dtype=torch.int32))
    torch.testing.assert_close(recorder.attention(1), torch.tensor([[0.7, 0.0], [0.35, 0.0]]))
    torch.testing.assert_close(recorder.attention(3), torch.zeros(2, 2))


def test_uniform_attention_has_no_votes_and_refines_everything_to_zero() -> None:
    patches, recorder = 3 * 7, VotingRecorder(averaged=range(8, 11))
    for number in range(12):
        recorder.accumulate(number, torch.full((1, patches + 1, patches + 1), 1 / (patches + 1)))
    assert not recorder.votes.any()
    refined = refine(torch.rand(patches, 4), recorder.attention(4), (3, 7))
    torch.testing.assert_close(refined, torch.zeros(patches, 4), atol=0, rtol=0)


@pytest.mark.parametrize("clip_edges", [False, True])
def test_with_each_patch_attending_to_itself_the_coarse_scores_remain_inside_the_boxes(clip_edges: bool) -> None:
    torch.manual_seed(0)
    coarse = torch.rand(20, 3)
    coarse[4:9, 1] = 0.99
    refined = refine(coarse, torch.eye(20), (4, 5), clip_edges)
    for index in range(3):
        own = coarse[:, index].reshape(4, 5)
        own = (own - own.min()) / (own.max() - own.min())
        inside = boxes(own[None], float(own.mean()), clip_edges)[0]
        torch.testing.assert_close(refined[:, index], coarse[:, index] * inside.flatten())
    assert not torch.equal(refined, coarse)


def test_columns_are_masked_and_rows_are_not() -> None:
    # Patch 0 is the only source inside the box of the class; the second patch receives from it all the same.
    attention = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    refined = refine(torch.tensor([[0.8], [0.0]]), attention, (1, 2))
    torch.testing.assert_close(refined, torch.tensor([[0.8], [0.4]]))


def test_a_class_that_is_the_same_everywhere_is_stretched_to_zero() -> None:
    torch.testing.assert_close(
        min_max(torch.tensor([[1.0, 3], [3, 3], [2, 3]])), torch.tensor([[0, 0], [1, 0], [0.5, 0]])
    )


def test_the_bounding_box_ends_behind_the_object_and_as_published_before_the_border() -> None:
    mask = torch.zeros(5, 6, dtype=torch.bool)
    assert bounding_box(mask) is None
    mask[1, 2] = mask[3, 3] = True
    assert bounding_box(mask) == bounding_box(mask, clip_edges=True) == (1, 2, 4, 4)
    corner = torch.zeros(5, 6, dtype=torch.bool)
    corner[4, 5] = True
    assert bounding_box(corner) == (4, 5, 5, 6)
    assert bounding_box(corner, clip_edges=True) is None
    corner[2, 1] = True
    assert bounding_box(corner, clip_edges=True) == (2, 1, 4, 5)


def test_attention_of_random_blocks_has_rows_of_at_most_one() -> None:
    torch.manual_seed(1)
    recorder = VotingRecorder(averaged=(1, 2))
    seen = [torch.randn(1, 13, 13).softmax(-1) for _ in range(4)]
    for number, weights in enumerate(seen):
        recorder.accumulate(number, weights.clone())
    attention = recorder.attention(2)
    assert float(attention.sum(1).max()) <= 1
    votes = np.zeros((12, 12), int)
    for weights in seen:
        patches = weights[0, 1:, 1:].numpy()
        for i in range(12):
            for j in range(12):
                votes[i, j] += patches[i, j] > patches.mean()
    expected = (seen[1] + seen[2])[0, 1:, 1:].numpy() / 2 * (votes >= 2)
    np.testing.assert_allclose(attention.numpy(), expected, atol=1e-7)
