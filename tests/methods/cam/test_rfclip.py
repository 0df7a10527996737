"""RF-CLIP: its steps on paper, and the whole against a version of plain loops over open_clip's own modules."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.encoders.models import noise, random_clip
from wildseg.cam.blocks import Blocks
from wildseg.cam.record import record_clip
from wildseg.cam.tower_state import RecordConfig
from wildseg.cam.trace import Trace
from wildseg.core.errors import ParamsError
from wildseg.encoders.clip import Clip
from wildseg.methods.cam import rfclip

SIZE = (64, 96)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("rfclip"), "vit-quickgelu")


@pytest.fixture(scope="module")
def trace(clip: Clip) -> Trace:
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    return record_clip(clip, clip.pixels([noise(SIZE)]), texts, (0, 2), 3, RecordConfig(outputs=True))


def close(found: Tensor, expected: object, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), atol=tolerance, rtol=0)


def test_redistributed_attention_on_paper() -> None:
    attention = torch.tensor([[0.4, 0.2, 0.2, 0.2], [0.1, 0.1, 0.7, 0.1], [0.1, 0.05, 0.8, 0.05], [0.2, 0.1, 0.6, 0.1]])
    expected = [[0.4, 0.2, 0.2, 0.2], [0.1, 0.24, 0.42, 0.24], [0.1, 0.21, 0.48, 0.21], [0.2, 0.22, 0.36, 0.22]]
    close(rfclip.redistribute_attention(attention), expected)


def test_rows_keep_their_sums_and_sinks_lose_two_fifths() -> None:
    attention = (3 * torch.randn(9, 9, generator=torch.Generator().manual_seed(0))).softmax(-1)
    found = rfclip.redistribute_attention(attention)
    close(found.sum(1), torch.ones(9))
    for column in range(1, 9):
        if sum(attention[row, column].item() for row in range(1, 9)) / 9 > 0.1:
            close(found[1:, column], 0.6 * attention[1:, column])
        else:
            assert (found[1:, column] >= attention[1:, column] - 1e-7).all()
    everywhere = torch.full((3, 3), 1 / 3)  # all are sinks: there is nobody to give to
    close(rfclip.redistribute_attention(everywhere), everywhere)


def test_flags_of_outliers_on_paper() -> None:
    rows = torch.tensor([[0.0, 1, 2, 1], [0, 1, 1, 2], [1, 1, 1, 5]])
    assert rfclip.outliers(rows, [2], 1.5).tolist() == [True, False, False]
    assert rfclip.outliers(rows, [2, 3], 1.5).tolist() == [True, True, True]
    assert not rfclip.outliers(rows, [], 1.5).any()
    assert not rfclip.outliers(torch.ones(3, 4), [0], 0.0).any()


def test_an_outlier_is_blended_with_the_mean_of_nine_and_others_stay() -> None:
    patches = torch.rand(12, 5, generator=torch.Generator().manual_seed(1))
    patches[[0, 6], 3] = 90.0  # a corner and a place inside of a grid of 3x4
    found = rfclip.denoise(patches, (3, 4), [3], 4.5, 0.4)
    expected = patches.clone()
    for place in (0, 6):
        row, column = divmod(place, 4)
        near = [
            patches[r * 4 + c]
            for r in range(row - 1, row + 2)
            for c in range(column - 1, column + 2)
            if 0 <= r < 3 and 0 <= c < 4
        ]
        expected[place] = 0.6 * patches[place] + 0.4 * torch.stack(near).sum(0) / 9
    close(found, expected)


def test_enhancement_on_paper() -> None:
    guide, values = torch.tensor([[1.0, 0], [0.8, 0.6], [0, 1]]), torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    close(rfclip.enhance(guide, values, 0.4), [[1, 0.8], [1.4, 1.6], [1, 1.6]])
    close(rfclip.enhance(guide, values, 0.7), [[1, 0.8], [0.8, 1], [1, 1]])


def test_where_the_guide_is_the_same_everywhere_every_patch_gets_the_same() -> None:
    values = torch.rand(6, 3, generator=torch.Generator().manual_seed(2))
    close(rfclip.enhance(torch.ones(6, 4), values, 0.4), values.sum(0).expand(6, 3), 1e-5)


def test_channels_are_those_that_are_the_largest_of_one_patch_in_a_hundred() -> None:
    patches = torch.zeros(400, 20)
    winners = [7] * 200 + [3] * 190 + [11] * 6 + [0] * 4  # 4 of 400 are not more than 1 %
    patches[range(400), winners] = 1.0
    assert rfclip.outlier_channels([patches[:150], patches[150:]]) == (7, 3, 11)
    each = torch.eye(20).repeat(10, 1)
    assert rfclip.outlier_channels([each]) == tuple(range(8))


def test_auto_takes_the_channels_of_the_frame_behind_blocks_of_the_second_half(clip: Clip, trace: Trace) -> None:
    assert trace.blocks is not None
    found = rfclip.outlier_channels([trace.blocks.outputs()[1][1:]])  # of 3 blocks the second: 7/12 of them, rounded up
    assert found
    torch.testing.assert_close(rfclip.cam(trace), rfclip.cam(trace, channels=found))
    assert (rfclip.cam(trace, sigma=1.0) - rfclip.cam(trace, channels=[], sigma=1.0)).abs().max() > 1e-4


def test_outputs_are_the_same_recorded_or_run_again(clip: Clip, trace: Trace) -> None:
    assert trace.blocks is not None
    again = Blocks(trace.blocks.vit, trace.blocks.pixels, trace.blocks.grid)
    assert len(again.outputs()) == len(trace.blocks.recorded) == len(again) - 1
    for own, recorded in zip(again.outputs(), trace.blocks.recorded, strict=True):
        torch.testing.assert_close(own, recorded, atol=1e-5, rtol=1e-5)


def test_a_channel_that_the_model_does_not_have_is_refused(trace: Trace) -> None:
    with pytest.raises(ParamsError, match=r"rfclip\.channels: expected channels from 0 to 31, .* found 162; take auto"):
        rfclip.cam(trace, channels="openai_b16")
    with pytest.raises(ParamsError, match="found 32"):
        rfclip.cam(trace, channels=[4, 32])


# Texts ---------------------------------------------------------------------------------------------------------------


def turned(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def test_of_similar_texts_the_one_most_like_the_image_moves_to_its_two_patches() -> None:
    texts = torch.tensor([turned(0), turned(10), turned(80)])
    features = torch.tensor([turned(20), turned(40), turned(-60), turned(85)])
    found = rfclip.moved(texts, features, torch.tensor(turned(30)), 0.25, 0.1)
    mean = [(a + b) / 2 for a, b in zip(turned(20), turned(40), strict=True)]  # of what is nearest to 10 degrees
    length = math.hypot(*mean)
    expected = [0.75 * a + 0.25 * b / length for a, b in zip(turned(10), mean, strict=True)]
    close(found[0], turned(0))
    close(found[1], [value / math.hypot(*expected) for value in expected])
    assert not torch.equal(found[2], texts[2])  # alone, it is the most similar of its group
    assert torch.equal(rfclip.moved(texts, features, torch.tensor(turned(30)), 0.0, 0.1), texts)


# The whole -----------------------------------------------------------------------------------------------------------


def kk(block: torch.nn.Module, tokens: Tensor) -> list[Tensor]:
    """softmax(k k^T / sqrt d) of each head, tokens that enter a block."""
    attn, width = block.attn, block.attn.embed_dim
    keys = F.linear(block.ln_1(tokens), attn.in_proj_weight[width : 2 * width], attn.in_proj_bias[width : 2 * width])
    size = width // attn.num_heads
    heads = [keys[:, start : start + size] for start in range(0, width, size)]
    return [(head @ head.T / size**0.5).softmax(-1) for head in heads]


def plainly(clip: Clip, trace: Trace, similarity: float) -> Tensor:
    """The method without outliers, by open_clip's blocks."""
    visual, blocks = clip.network.visual, list(clip.network.visual.transformer.resblocks)
    assert trace.blocks is not None
    x = trace.blocks.embedded()
    entering, leaving = [], []
    for block in blocks:
        entering.append(x)
        x = block(x[None])[0]
        leaving.append(x)
    guide = sum(leaving) / len(blocks)
    unit = F.normalize(guide[1:], dim=-1)
    likeness = unit @ unit.T
    likeness[likeness < similarity] = 0
    attn, width = blocks[-1].attn, blocks[-1].attn.embed_dim
    size, outputs = width // attn.num_heads, []
    for source in (leaving[-2], guide):
        tokens = torch.cat([source[:1], likeness @ source[1:]])
        own, others = kk(blocks[-1], tokens), [kk(b, e) for b, e in zip(blocks[:-1], entering[:-1], strict=True)]
        normed = blocks[-1].ln_1(tokens)
        values = F.linear(normed, attn.in_proj_weight[2 * width :], attn.in_proj_bias[2 * width :])[1:]
        heads = []
        for head in range(attn.num_heads):
            mean = sum(every[head] for every in [own, *others])[1:, 1:] / len(blocks)
            heads.append(mean @ values[:, head * size : (head + 1) * size])
        outputs.append(attn.out_proj(torch.cat(heads, 1)))
    features = F.normalize(visual.ln_post((outputs[0] + outputs[1]) / 2) @ visual.proj, dim=-1)
    assert trace.texts is not None
    return (40 * features @ trace.texts.T).softmax(1)[:, [0, 2]].T.unflatten(1, trace.blocks.grid)


@torch.no_grad()
def test_without_outliers_it_is_the_mean_of_all_key_attention_on_enhanced_tokens(clip: Clip, trace: Trace) -> None:
    found = rfclip.cam(trace, sigma=1e6, text_mix=0.0, competitors="all")
    torch.testing.assert_close(found, plainly(clip, trace, 0.4), atol=1e-4, rtol=0)
    sparse = rfclip.cam(trace, channels=[], similarity=0.8, text_mix=0.0, competitors="all")
    torch.testing.assert_close(sparse, plainly(clip, trace, 0.8), atol=1e-4, rtol=0)


def test_each_step_changes_the_maps(trace: Trace) -> None:
    plain = rfclip.cam(trace)
    blended = {"blend": 1.0, "sigma": 0.5}
    for changed in ({"sigma": 0.5}, {"similarity": 0.9}, {"text_mix": 0.5}, blended):
        assert (rfclip.cam(trace, **changed) - plain).abs().max() > 1e-5, changed


@torch.no_grad()
def test_where_nothing_attracts_all_patches_redistribution_is_the_block_and_else_it_is_not(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "vit-quickgelu")
    texts = clip.classifier([["sky"], ["road"]], ["{}"])
    blocks = record_clip(clip, clip.pixels([noise(SIZE)]), texts, (0, 1), 2).blocks
    assert blocks is not None
    x = blocks.embedded()
    torch.testing.assert_close(rfclip._redistributed(blocks, 0, x), blocks.run(0, x), atol=1e-5, rtol=0)
    clip.vit.blocks[0].attn.in_proj_weight[:64] *= 8  # of queries and keys: attention far from uniform
    assert (rfclip._redistributed(blocks, 0, x) - blocks.run(0, x)).abs().max() > 1e-3
    block = clip.vit.blocks[0]
    query, key, value = blocks.heads(0, x)
    mixed = []
    for q, k, v in zip(query, key, value, strict=True):
        weights = (q @ k.T / 8**0.5).softmax(-1)
        mixed.append(rfclip.redistribute_attention(weights) @ v)
    middle = x + block.attn.out_proj(torch.cat(mixed, 1))
    expected = middle + block.mlp(block.ln_2(middle))
    torch.testing.assert_close(rfclip._redistributed(blocks, 0, x), expected, atol=1e-5, rtol=0)
