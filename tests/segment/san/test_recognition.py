"""CLIP's deeper blocks with a token for each mask: CLIP itself without a bias, a full attention matrix with one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.encoders.models import random_clip
from wildseg.encoders.vit import ViT
from wildseg.segment.san.recognition import cell_biases, recognise, run_shared, shared_blocks, taps

KINDS = ("tiny", "vit", "vit-quickgelu", "vit-scaled", "ten-blocks", "patch14", "patch32")


def full_mask(bias: Tensor) -> Tensor:
    """Return the additive matrix (Q + 1 + N, Q + 1 + N) of one head's biases (Q, N), entry by entry."""
    queries, patches = bias.shape
    matrix = torch.zeros(queries + 1 + patches, queries + 1 + patches)
    for row in range(len(matrix)):
        for column in range(len(matrix)):
            other_mask, class_token = column < queries and row != column, row < queries and column == queries
            if other_mask or class_token:
                matrix[row, column] = -100
            elif row < queries and column > queries:
                matrix[row, column] = bias[row, column - queries - 1]
    return matrix


def by_matrix(tower: ViT, tokens: Tensor, bias: Tensor) -> Tensor:
    """Return features (Q, d), and the tokens behind them, of one image by open_clip's own blocks and a full matrix."""
    queries = bias.shape[1]
    values = torch.cat([tokens[:1].expand(queries, -1), tokens])[None]
    matrix = torch.stack([full_mask(head) for head in bias])  # (heads, T, T)
    for block in tower.blocks[shared_blocks(len(tower.blocks)) :]:
        values = block(values, attn_mask=matrix)
    own = tower.visual.ln_post(values[0, :queries]) @ tower.visual.proj
    return functional.normalize(own, dim=-1), values[0, queries:]


def test_the_matrix_of_two_masks_and_three_patches_is_the_published_one() -> None:
    matrix = full_mask(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert matrix.tolist() == [
        [0, -100, -100, 1, 2, 3],
        [-100, 0, -100, 4, 5, 6],
        *[[-100, -100, 0, 0, 0, 0]] * 4,
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1.0, 1.0), (0.5, 1.5)])
def test_without_a_bias_every_mask_has_the_embedding_of_the_image(
    kind: str, size: tuple[float, float], tmp_path: Path
) -> None:
    clip = random_clip(tmp_path, kind)
    tower = ViT(clip.network.visual)
    height, width = (max(round(side * factor), patch) // patch * patch
                     for side, factor, patch in zip(clip.size, size, tower.patch, strict=True))  # fmt: skip
    pixels = torch.randn(2, 3, height, width)
    shared = run_shared(tower, pixels)
    features = recognise(tower, shared.tokens, torch.zeros(2, tower.blocks[0].attn.num_heads, 5, 7, 9))
    whole = clip.image_features(pixels)
    if (height, width) == clip.size:
        torch.testing.assert_close(whole, clip.network.encode_image(pixels, normalize=True), atol=1e-5, rtol=0)
    assert features.shape == (2, 5, whole.shape[1])
    torch.testing.assert_close(features, whole[:, None].expand_as(features), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["tiny", "ten-blocks", "patch14", "vit-scaled"])
def test_a_bias_acts_as_the_full_matrix_does_in_the_blocks_of_open_clip(kind: str, tmp_path: Path) -> None:
    tower = ViT(random_clip(tmp_path, kind).network.visual)
    pixels = torch.randn(2, 3, *(side * 2 for side in tower.patch))
    tokens = run_shared(tower, pixels).tokens
    biases = 4 * torch.randn(2, tower.blocks[0].attn.num_heads, 3, *tokens.grid)
    features = recognise(tower, tokens, biases)
    for image, own in enumerate(features):
        expected, plain = by_matrix(tower, tokens.values[image], biases[image].flatten(2))
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=0)
        other = by_matrix(tower, tokens.values[image], torch.zeros_like(biases[image].flatten(2)))[1]
        torch.testing.assert_close(plain, other)  # the class token and the patches do not notice
    assert (features[:, 0] - features[:, 1]).abs().max() > 1e-4


def test_the_order_of_masks_is_that_of_their_biases(tmp_path: Path) -> None:
    tower = ViT(random_clip(tmp_path, "vit").network.visual)
    tokens = run_shared(tower, torch.randn(1, 3, 64, 64)).tokens
    biases, order = torch.randn(1, 4, 5, 4, 4), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(
        recognise(tower, tokens, biases)[:, order], recognise(tower, tokens, biases[:, :, order])
    )


def test_the_shared_blocks_are_those_of_open_clip_and_their_maps_are_taken_where_published(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "ten-blocks")
    tower, pixels = ViT(clip.network.visual), torch.randn(1, 3, 64, 64)
    outputs: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, out: outputs.append(out)) for block in tower.blocks]
    clip.network.visual(pixels)
    for hook in hooks:
        hook.remove()
    shared = run_shared(tower, pixels)
    torch.testing.assert_close(shared.tokens.values, outputs[6], atol=1e-5, rtol=1e-5)
    assert taps(10) == [0, 2, 5, 7]
    for number, found in zip((2, 5, 7), shared.maps[1:], strict=True):
        expected = outputs[number - 1][0, 1:].T.reshape(-1, 4, 4)
        torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)


def test_the_published_depths_have_the_published_maps() -> None:
    assert (shared_blocks(12), taps(12)) == (9, [0, 3, 6, 9])
    assert (shared_blocks(24), taps(24)) == (18, [0, 6, 12, 18])
    assert [taps(depth) for depth in (1, 2, 3, 4)] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_a_cell_has_the_largest_bias_within_it() -> None:
    biases = torch.arange(24.0).reshape(1, 1, 1, 4, 6)
    assert cell_biases(biases, (2, 3)).tolist() == [[[[7, 9, 11, 19, 21, 23]]]]
    assert cell_biases(biases, (4, 6)).flatten().tolist() == biases.flatten().tolist()


def test_a_bias_that_hides_all_but_a_part_leaves_the_patches_of_that_part(tmp_path: Path) -> None:
    # Compared with attention over the patches that are left, in the only block that is not shared.
    tower = ViT(random_clip(tmp_path, "vit").network.visual)
    tokens = run_shared(tower, torch.randn(1, 3, 64, 64)).tokens
    region = torch.zeros(1, 16, dtype=torch.bool)
    region[0, [1, 2, 7]] = True
    biases = torch.where(region, 0.0, -200.0).reshape(1, 1, 1, 4, 4).expand(-1, 4, -1, -1, -1)
    kept = torch.cat([tokens.values[:, :1], tokens.values[:, 1:][:, region[0]]], 1)
    last = tower.blocks[-1]
    assert shared_blocks(len(tower.blocks)) == len(tower.blocks) - 1
    expected, _ = tower.block(last, kept, last.ln_1(kept))
    torch.testing.assert_close(
        recognise(tower, tokens, biases)[:, 0], functional.normalize(tower.pooled(expected, "tok"), dim=-1)
    )
