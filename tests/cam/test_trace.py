"""Recording: gradients against finite differences, copies against single passes, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.cam.networks import ConvNet
from tests.encoders.models import random_clip
from wildseg.cam.record import record_batch, record_clip, record_module
from wildseg.cam.tower_state import RecordConfig
from wildseg.cam.trace import class_logit
from wildseg.encoders.clip import Clip


def double(clip: Clip) -> Clip:
    clip.network.double()
    return clip


def setting(clip: Clip, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Return random pixels at the native size and random unit texts, in the model's precision."""
    generator = torch.Generator().manual_seed(2)
    kind = next(clip.network.parameters()).dtype
    pixels = torch.randn(1, 3, *clip.size, generator=generator, dtype=kind)
    width = clip.network.visual.output_dim
    return pixels, F.normalize(torch.randn(classes, width, generator=generator, dtype=kind), dim=-1)


def layer_of(clip: Clip) -> nn.Module:
    visual = clip.network.visual
    if not hasattr(visual, "transformer"):
        return visual.layer4
    return visual.transformer.resblocks[-1].ln_1 if visual.pool_type == "tok" else visual.ln_post


def shifted(clip: Clip, layer: nn.Module, pixels: Tensor, texts: Tensor, shift: Tensor) -> Tensor:
    """Return the logits (M,) of open_clip's own forward pass when `shift` is added to a layer's output."""
    handle = layer.register_forward_hook(lambda _module, _inputs, output: output + shift)
    try:
        with torch.no_grad():
            return clip.logits(clip.network.encode_image(pixels, normalize=True), texts)[0]
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["tiny", "vit-quickgelu", "vit-scaled", "avg", "patch14", "resnet"])
def test_gradients_are_those_of_finite_differences_through_open_clips_own_forward(kind: str, tmp_path: Path) -> None:
    clip = double(random_clip(tmp_path, kind))
    pixels, texts = setting(clip)
    trace = record_clip(clip, pixels, texts, (0, 2), 4)
    gradients = trace.gradients()
    _, channels, height, width = trace.activations.shape
    assert (height, width) == clip.tower().native_grid
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        row, channel, y, x = (int(torch.randint(n, (), generator=generator)) for n in (2, channels, height, width))
        shift = torch.zeros(1, channels, height, width, dtype=torch.float64)
        shift[0, channel, y, x] = 1e-5
        tokens = F.pad(shift.flatten(2).transpose(1, 2), (0, 0, 1, 0))  # the class token stays
        moved = shift if kind == "resnet" else tokens
        up, down = (shifted(clip, layer_of(clip), pixels, texts, sign * moved)[(0, 2)[row]] for sign in (1, -1))
        torch.testing.assert_close(gradients[row, channel, y, x], (up - down) / 2e-5, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("kind", ["tiny", "avg", "resnet"])
def test_images_together_are_recorded_as_each_alone(kind: str, tmp_path: Path) -> None:
    clip = random_clip(tmp_path, kind)
    _, texts = setting(clip)
    pixels = torch.randn(3, 3, *clip.size)
    classes, look = [(0, 2), (1,), (3, 0, 2)], RecordConfig(attention=True, averaged=lambda blocks: range(blocks)[-2:])
    for number, trace in enumerate(record_batch(clip, pixels, texts, classes, 4, look)):
        alone = record_clip(clip, pixels[number : number + 1], texts, classes[number], 4, look)
        close = {"atol": 1e-5, "rtol": 1e-4}
        torch.testing.assert_close(trace.gradients(), alone.gradients(), **close)
        torch.testing.assert_close(trace.activations, alone.activations, **close)
        torch.testing.assert_close(trace.attention[:], alone.attention[:], **close)
        torch.testing.assert_close(trace.mean_attention, torch.stack(trace.attention[-2:]).mean(0), **close)


@pytest.mark.parametrize("size", [(96, 96), (64, 160)])
def test_a_resnet_is_read_as_open_clip_reads_it(size: tuple[int, int], tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "resnet")
    tower, pixels = clip.tower(), torch.randn(2, 3, *size)
    with torch.no_grad():
        if size == clip.size:
            torch.testing.assert_close(tower.features(pixels), clip.network.encode_image(pixels), atol=1e-5, rtol=0)
        trace = record_clip(clip, pixels[:1], setting(clip)[1], (0,), 4, RecordConfig(attention=True))
        ordinary = trace.dense(lambda q, k, v: (q @ k.T * q.shape[-1] ** -0.5).softmax(-1) @ v, True, True)
        tokens = tower.tokens(tower.cells(pixels[:1]))
        layer = tower.attention  # torch's own attention, all tokens looking at all
        mixed, weights = F.multi_head_attention_forward(
            *[tokens.transpose(0, 1)] * 3, tokens.shape[-1], layer.num_heads, None,
            torch.cat([layer.q_proj.bias, layer.k_proj.bias, layer.v_proj.bias]), None, None, False, 0.0,
            layer.c_proj.weight, layer.c_proj.bias, use_separate_proj_weight=True, training=False,
            q_proj_weight=layer.q_proj.weight, k_proj_weight=layer.k_proj.weight, v_proj_weight=layer.v_proj.weight,
        )  # fmt: skip
        expected = F.normalize(mixed[1:, 0], dim=-1) @ setting(clip)[1].T
        torch.testing.assert_close(tower.features(pixels[:1]), mixed[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ordinary.flatten(1).T, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(trace.attention[0], weights[0], atol=1e-6, rtol=1e-4)


def test_classes_asked_together_or_alone_or_as_copies_in_one_batch_have_the_same_gradients(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    pixels, texts = setting(clip)
    together = record_clip(clip, pixels, texts, (0, 1, 3), 4).gradients()
    alone = [record_clip(clip, pixels, texts, (c,), 4).gradients()[0] for c in (0, 1, 3)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-6, rtol=1e-4)
    last, values = clip.vit.blocks[-1], clip.vit.trunk(pixels).values.expand(3, -1, -1)
    copies = last.ln_1(values).detach().requires_grad_()
    feature = F.normalize(clip.vit.pooled(clip.vit.block(last, values, copies)[0], "tok"), dim=-1)
    clip.logits(feature, texts)[[0, 1, 2], [0, 1, 3]].sum().backward()
    torch.testing.assert_close(together.flatten(2).transpose(1, 2), copies.grad[:, 1:], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["tiny", "avg", "clipa"])
def test_the_whole_network_differentiated_in_the_ordinary_way_gives_the_same(kind: str, tmp_path: Path) -> None:
    clip = double(random_clip(tmp_path, kind))
    pixels, texts = setting(clip)
    kept: list[Tensor] = []
    layer = layer_of(clip) if kind != "clipa" else clip.network.visual.transformer.resblocks[-1]
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logits = clip.logits(clip.network.encode_image(pixels.requires_grad_(), normalize=True), texts)
    handle.remove()
    (whole,) = torch.autograd.grad(logits[0, 2], kept[0])
    trace = record_clip(clip, pixels.detach(), texts, (2,), 4)
    grid = clip.vit.native_grid
    torch.testing.assert_close(trace.gradients(), whole[:, 1:].transpose(1, 2).unflatten(2, grid))
    torch.testing.assert_close(trace.activations, kept[0][:, 1:].transpose(1, 2).unflatten(2, grid).detach())


def test_where_patches_are_averaged_the_gradient_is_the_same_everywhere(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "avg")
    gradients = record_clip(clip, *setting(clip), (0, 1), 4).gradients()
    torch.testing.assert_close(gradients, gradients.mean((2, 3), keepdim=True).expand_as(gradients))


def test_pooling_patches_differentiates_their_mean_behind_the_final_norm(tmp_path: Path) -> None:
    clip = double(random_clip(tmp_path, "tiny"))
    pixels, texts = setting(clip)
    last, visual = clip.vit.blocks[-1], clip.network.visual
    values = clip.vit.trunk(pixels).values
    leaf = last.ln_1(values).detach().requires_grad_()
    after = values + last.attn(leaf, leaf, leaf, need_weights=False)[0]
    after = after + last.mlp(last.ln_2(after))
    feature = F.normalize(visual.ln_post(after)[:, 1:].mean(1) @ visual.proj, dim=-1)
    (expected,) = torch.autograd.grad(clip.logits(feature, texts)[0, 1], leaf)
    found = record_clip(clip, pixels, texts, (1,), 4).gradients(pool="patches")
    torch.testing.assert_close(found, expected[:, 1:].transpose(1, 2).unflatten(2, (6, 8)))


@pytest.mark.parametrize("kind", ["tiny", "avg"])
def test_attention_is_recorded_for_every_block_only_when_asked_for(kind: str, tmp_path: Path) -> None:
    clip = random_clip(tmp_path, kind)
    pixels, texts = setting(clip)
    assert record_clip(clip, pixels, texts, (0,), 4).attention[:] == []
    attention = record_clip(clip, pixels, texts, (0,), 4, config=RecordConfig(attention=True)).attention
    tokens = 1 + clip.vit.native_grid[0] * clip.vit.native_grid[1]
    assert [tuple(a.shape) for a in attention] == [(tokens, tokens)] * 3
    for weights in attention:
        torch.testing.assert_close(weights.sum(1), torch.ones(tokens))


def test_a_frame_of_another_size_gets_a_grid_of_its_own(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    trace = record_clip(clip, torch.randn(1, 3, 40, 88), setting(clip)[1], (0,), 4)
    assert trace.activations.shape == (1, 32, 5, 11)
    assert trace.gradients().shape == (1, 32, 5, 11)


def test_recording_works_where_gradients_are_switched_off(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    with torch.no_grad():
        assert record_clip(clip, *setting(clip), (0,), 4).gradients().abs().max() > 0
        network = ConvNet().requires_grad_(False)
        trace = record_module(network, network.features, torch.randn(1, 3, 8, 8), (0,))
        assert trace.gradients().abs().max() > 0


def test_a_layer_in_front_of_an_inplace_one_is_recorded_before_it() -> None:
    torch.manual_seed(0)
    network = ConvNet().eval()
    pixels = torch.randn(1, 3, 8, 8)
    trace = record_module(network, network.features[0], pixels, (1,))
    assert trace.activations.min() < 0
    torch.testing.assert_close(trace.activations, network.features[0](pixels))


def test_hooks_and_modes_come_back_when_the_network_fails() -> None:
    network = ConvNet()
    network.head = nn.Linear(99, 4)
    with pytest.raises(RuntimeError):
        record_module(network, network.features, torch.randn(1, 3, 8, 8), (0,))
    assert not network.features._forward_hooks
    assert network.training


def test_a_network_with_its_own_pooling_cannot_be_asked_for_another() -> None:
    network = ConvNet()
    trace = record_module(network, network.features, torch.randn(1, 3, 8, 8), (0,))
    with pytest.raises(ValueError, match="expected 'model'"):
        trace.gradients(class_logit, "patches")


def test_a_target_may_be_any_function_of_the_logits(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    trace = record_clip(clip, *setting(clip), (0, 1), 4)
    both: Callable = lambda logits, classes: logits[:, :2].sum(1)  # noqa: E731
    torch.testing.assert_close(trace.gradients(both)[0], trace.gradients().sum(0), atol=1e-6, rtol=1e-4)
