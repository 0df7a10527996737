"""ProxyCLIP: its attention on paper, its equalities, windows as published, and the second encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.cam.configs import cam_config, colours
from tests.encoders.models import noise, random_clip
from wildseg.cam import dense, second_encoder
from wildseg.cam.engine import activation_maps
from wildseg.cam.record import record_clip
from wildseg.cam.tower_state import RecordConfig
from wildseg.cam.trace import Trace
from wildseg.core.errors import ModelError
from wildseg.encoders.clip import Clip
from wildseg.methods.cam import maskclip, proxyclip

SIZE = (64, 96)  # a grid of 4x6 patches of 16 pixels


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("proxyclip"), "vit-quickgelu")


def trace_of(clip: Clip, encoder: object = colours) -> Trace:
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    config = RecordConfig(encoder=encoder)  # type: ignore[arg-type]
    return record_clip(clip, clip.pixels([noise(SIZE)]), texts, (0, 2), 3, config)


def close(found: Tensor, expected: object, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), atol=tolerance, rtol=0)


def test_attention_from_cosines_on_paper() -> None:
    similarity = torch.tensor([[1, 0.8, 0.1], [0.8, 1, 0.2], [0.1, 0.2, 1]])
    expected = [[0.645656, 0.354344, 0], [0.354344, 0.645656, 0], [0, 0, 1]]
    close(dense.centred_attention(similarity, 1.2, 3.0), expected)


def test_a_frame_that_is_the_same_everywhere_attends_place_by_place() -> None:
    close(dense.proxy_attention(torch.ones(4, 3), 1.2, 3.0), torch.eye(4))


def test_features_that_share_nothing_make_it_maskclip_without_residual_and_mlp(clip: Clip) -> None:
    trace = trace_of(clip, lambda _: torch.eye(24).unflatten(1, (4, 6))[None])
    torch.testing.assert_close(proxyclip.cam(trace, scale=100.0), maskclip.cam(trace, strict=True), atol=1e-4, rtol=0)


def test_a_resnet_s_values_are_those_of_its_attention_pooling(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "resnet")
    trace = trace_of(clip, lambda _: torch.eye(6).unflatten(1, (2, 3))[None])  # cells of 32 pixels
    torch.testing.assert_close(proxyclip.cam(trace, scale=100.0), maskclip.cam(trace), atol=1e-4, rtol=0)


@torch.no_grad()
def test_it_is_the_equation_on_the_grid_of_the_second_encoder(clip: Clip) -> None:
    trace = trace_of(clip)
    visual, last = clip.network.visual, clip.vit.blocks[-1]
    pixels = clip.pixels([noise(SIZE)])
    normed = last.ln_1(clip.vit.trunk(pixels).values)[0, 1:]
    width, heads = last.attn.embed_dim, last.attn.num_heads
    values = F.linear(normed, last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :])
    large = F.interpolate(values.T.reshape(1, width, 4, 6), (8, 12), mode="bilinear")[0].flatten(1).T
    unit = F.normalize(F.avg_pool2d(pixels, 8)[0].flatten(1).T, dim=-1)
    scores = (unit @ unit.T - 1.2 * (unit @ unit.T).mean()) * 3
    weights = torch.where(scores < 0, torch.tensor(-torch.inf), scores).softmax(-1)
    size = width // heads
    mixed = torch.cat([weights @ large[:, start : start + size] for start in range(0, width, size)], 1)
    features = F.normalize(visual.ln_post(last.attn.out_proj(mixed)) @ visual.proj, dim=-1)
    assert trace.texts is not None
    expected = (40 * features @ trace.texts.T).softmax(1)[:, [0, 2]].T.unflatten(1, (8, 12))
    torch.testing.assert_close(proxyclip.cam(trace, competitors="all"), expected, atol=1e-4, rtol=0)


# Windows -------------------------------------------------------------------------------------------------------------


def test_windows_are_those_of_the_published_protocol() -> None:
    found = list(proxyclip.windows((64, 96), (16, 16), 48, 32))
    rows, columns = [(0, 48), (16, 64)], [(0, 48), (32, 80), (48, 96)]
    assert [((r.start, r.stop), (c.start, c.stop)) for r, c in found] == [(r, c) for r in rows for c in columns]
    assert list(proxyclip.windows((64, 96), (16, 16), 100, 32)) == [(slice(0, 64), slice(0, 96))]
    narrow = list(proxyclip.windows((64, 96), (16, 16), 41, 1))  # whole patches
    assert [(c.start, c.stop) for _, c in narrow[:4]] == [(0, 48), (16, 64), (32, 80), (48, 96)]


def test_a_window_that_holds_the_frame_is_the_whole_frame(clip: Clip) -> None:
    trace = trace_of(clip)
    for stitch in (True, False):
        assert torch.equal(proxyclip.cam(trace, window=96, stitch=stitch), proxyclip.cam(trace))


def test_two_identical_windows_are_one() -> None:
    picture, part = torch.rand(3, 4, 6), (slice(0, 64), slice(0, 96))
    close(proxyclip.stitched([picture, picture], [part, part], SIZE, (4, 6)), picture)


def test_windows_are_put_where_they_were_and_averaged_where_they_overlap() -> None:
    parts = [(slice(0, 64), slice(0, 64)), (slice(0, 64), slice(32, 96))]
    left, right = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    found = proxyclip.stitched([left, right], parts, SIZE, (4, 6))
    close(found[0], torch.tensor([0, 0, 0.5, 0.5, 1, 1]).expand(4, 6))


def test_stitched_windows_are_one_attention_and_others_one_each(clip: Clip) -> None:
    trace = trace_of(clip)
    apart = proxyclip.cam(trace, window=64, window_step=32, stitch=False, competitors="all", scale=1.0)
    stitched = proxyclip.cam(trace, window=64, window_step=32, competitors="all")
    assert apart.shape == stitched.shape == (2, 8, 12)
    assert trace.last is not None
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    parts = [(slice(0, 64), slice(0, 64)), (slice(0, 64), slice(32, 96))]
    logs = []
    for rows, columns in parts:  # each window as a frame of its own: log probabilities are cosines up to a constant
        pixels = clip.pixels([noise(SIZE)])[:, :, rows, columns]
        own = record_clip(clip, pixels, texts, (0, 1, 2), 3, RecordConfig(encoder=colours))
        logs.append(proxyclip.cam(own, scale=1.0, competitors="all").log())
    difference = [log[0] - log[2] for log in logs]  # cosine of sky less cosine of lawn
    left, right = difference
    expected = torch.cat([left[:, :4], (left[:, 4:] + right[:, :4]) / 2, right[:, 4:]], 1)
    torch.testing.assert_close(apart[0].log() - apart[1].log(), expected, atol=1e-4, rtol=0)


# The second encoder --------------------------------------------------------------------------------------------------


def test_the_second_encoder_sees_the_image_in_its_own_normalisation_and_whole_cells(clip: Clip) -> None:
    image = noise((60, 90))
    encoder = second_encoder.load(clip, Path(), "key", encoder="tu-resnet18", encoder_weights=None, stride=32)
    seen: list[Tensor] = []
    spy = replace(encoder, network=lambda pixels: [seen.append(pixels), pixels[:, :, ::32, ::32]])  # type: ignore[list-item]
    assert spy(clip.pixels([image])).shape == (1, 3, 2, 3)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    plain = (torch.from_numpy(image).permute(2, 0, 1).float() / 255 - mean) / std
    assert seen[0].shape == (1, 3, 64, 96)
    torch.testing.assert_close(seen[0], F.interpolate(plain[None], (64, 96), mode="bilinear"), atol=1e-4, rtol=0)
    assert encoder(clip.pixels([image])).shape == (1, 512, 2, 3)


def test_a_transformer_of_timm_gives_its_patches(clip: Clip) -> None:
    encoder = second_encoder.load(clip, Path(), "key", encoder="tu-vit_tiny_patch16_224", encoder_weights=None)
    assert encoder.stride == 16
    assert encoder(clip.pixels([noise((60, 90))])).shape == (1, 192, 4, 6)


def test_random_weights_are_the_same_every_time(clip: Clip) -> None:
    pixels = clip.pixels([noise((32, 32))])
    options = {"encoder": "tu-resnet18", "encoder_weights": None}
    one, other = (second_encoder.load(clip, Path(), "key", **options)(pixels) for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (1, 512, 4, 4)  # a stride of 8


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"encoder": "tu-resnet81"}, r"^cam\.options\.proxyclip\.encoder: expected .* found 'tu-resnet81'"),
        (
            {"encoder": "tu-resnet18", "encoder_weights": "dino"},
            r"\.encoder_weights: expected null, .* 'dino'",
        ),
    ],
)
def test_an_encoder_that_does_not_exist_is_one_line(options: dict, line: str, clip: Clip) -> None:
    with pytest.raises(ModelError, match=line):
        second_encoder.load(clip, Path(), "cam.options.proxyclip", **options)


def test_without_a_second_encoder_there_are_no_maps(clip: Clip) -> None:
    with pytest.raises(ModelError, match="compares places by a second encoder; there is none"):
        proxyclip.cam(trace_of(clip, None))


def test_maps_have_the_finer_grid_of_the_second_encoder(clip: Clip) -> None:
    texts = clip.classifier([["sky"], ["road"]], ["{}"])
    maps = activation_maps(clip, noise(SIZE), texts, [0, 1], 2, cam_config(proxyclip))
    assert maps.shape == (2, 8, 12)
