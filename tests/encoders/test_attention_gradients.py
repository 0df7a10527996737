"""Gradients at the attention of every block are those of plain autograd through a forward pass written out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.encoders.models import noise, random_clip
from wildseg.cam.record import record_clip
from wildseg.core.errors import ParamsError
from wildseg.encoders.clip import Clip
from wildseg.methods.cam import chefer

CLASSES = (0, 2)


def written_out(clip: Clip, pixels: Tensor, texts: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run the image tower with attention as an explicit softmax; return logits (1, M) and attention (heads, T, T)."""
    vit, visual = clip.vit, clip.network.visual
    values, attention = vit.embed(pixels).values, []
    for block in vit.blocks:
        normed = block.ln_1(values)
        layer, width = block.attn, block.attn.embed_dim
        qkv = F.linear(normed, layer.in_proj_weight, layer.in_proj_bias).split(width, dim=-1)
        q, k, v = (part[0].unflatten(-1, (layer.num_heads, -1)).transpose(0, 1) for part in qkv)  # (heads, T, d)
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1).requires_grad_()
        attention.append(weights)
        mixed = layer.out_proj((weights @ v).transpose(0, 1).flatten(1))[None]
        values = values + mixed
        values = values + block.mlp(block.ln_2(values))
    out = visual.ln_post(values)
    pooled = out[:, 0] if vit.pool == "tok" else out[:, 1:].mean(1)
    return clip.logits(F.normalize(pooled @ visual.proj, dim=-1), texts), attention


@pytest.fixture(params=["tiny", "vit-quickgelu", "avg"])
def clip(request: pytest.FixtureRequest, tmp_path: Path) -> Clip:
    return random_clip(tmp_path, request.param)


@pytest.fixture
def texts(clip: Clip) -> Tensor:
    return clip.classifier([["sky"], ["road"], ["lawn"]], ["{}"])


def test_attention_and_its_gradients_are_those_of_autograd(clip: Clip, texts: Tensor) -> None:
    pixels = clip.pixels([noise((48, 64))])
    blocks = list(record_clip(clip, pixels, texts, CLASSES, 3).attention_gradients())
    with torch.enable_grad():
        logits, attention = written_out(clip, pixels, texts)
        expected = [torch.autograd.grad(logits[0, c], attention, retain_graph=True) for c in CLASSES]
    assert len(blocks) == len(attention)
    for number, block in enumerate(reversed(blocks)):
        for head in range(block.heads):
            torch.testing.assert_close(block.attention(head), attention[number][head].detach(), atol=1e-5, rtol=0)
            for index in range(len(CLASSES)):
                wanted = expected[index][number][head]
                close = {"atol": 1e-4 * wanted.abs().max().item(), "rtol": 1e-3}
                torch.testing.assert_close(block.gradient(index, head), wanted, **close)


@pytest.mark.parametrize("layers", [None, 1, 2])
def test_chefer_is_the_row_of_the_relevance_updated_block_by_block(
    clip: Clip, texts: Tensor, layers: int | None
) -> None:
    pixels = clip.pixels([noise((48, 64))])
    trace = record_clip(clip, pixels, texts, CLASSES, 3)
    found = chefer.cam(trace, layers=layers)
    with torch.enable_grad():
        logits, attention = written_out(clip, pixels, texts)
        for index, c in enumerate(CLASSES):
            gradients = torch.autograd.grad(logits[0, c], attention, retain_graph=True)
            relevance = torch.eye(attention[0].shape[-1])
            for weights, gradient in list(zip(attention, gradients, strict=True))[-(layers or len(attention)) :]:
                relevance = relevance + (gradient * weights.detach()).clamp(min=0).mean(0) @ relevance
            changed = relevance - torch.eye(len(relevance))
            row = changed[0] if clip.vit.pool == "tok" else changed[1:].mean(0)
            expected = row[1:].reshape(found.shape[1:])
            torch.testing.assert_close(found[index], expected, atol=1e-4 * expected.max().item(), rtol=1e-3)


@pytest.mark.parametrize("layers", [0, 1.5, "all"])
def test_a_number_of_layers_that_means_nothing_is_told(clip: Clip, texts: Tensor, layers: object) -> None:
    trace = record_clip(clip, clip.pixels([noise((48, 64))]), texts, CLASSES, 3)
    with pytest.raises(ParamsError, match=r"chefer\.layers: expected a whole number from 1 or null, found"):
        chefer.cam(trace, layers=layers)
