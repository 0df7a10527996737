"""The vision transformer read block by block, against open_clip's own forward pass."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.encoders.models import CONFIGS, random_clip
from wildseg.encoders import attention
from wildseg.encoders.attention import AttentionRecorder, attend
from wildseg.encoders.vit import ViT, unsupported_reason


def pixels_for(visual: nn.Module, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *visual.image_size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", CONFIGS)
def test_features_are_those_of_open_clip_at_the_native_size(kind: str, tmp_path: Path) -> None:
    clip = random_clip(tmp_path, kind)
    pixels = pixels_for(clip.network.visual)
    with torch.no_grad():
        torch.testing.assert_close(clip.vit.features(pixels), clip.network.encode_image(pixels), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-16"])
def test_features_of_a_model_of_real_size_are_those_of_open_clip(name: str) -> None:
    config = open_clip.get_model_config(name)
    torch.manual_seed(0)
    visual = open_clip.model._build_vision_tower(512, config["vision_cfg"], config.get("quick_gelu", False)).eval()
    with torch.no_grad():
        pixels = pixels_for(visual, 1)
        torch.testing.assert_close(ViT(visual).features(pixels), visual(pixels), atol=1e-4, rtol=0)


def test_quickgelu_is_not_plain_gelu(tmp_path: Path) -> None:
    quick, plain = random_clip(tmp_path, "vit-quickgelu"), random_clip(tmp_path, "vit")
    pixels = pixels_for(plain.network.visual)
    assert (quick.image_features(pixels) - plain.image_features(pixels)).abs().max() > 1e-4


def test_the_native_positional_embedding_is_the_stored_one(tmp_path: Path) -> None:
    vit = random_clip(tmp_path, "tiny").vit
    assert vit.positions((6, 8)) is vit.visual.positional_embedding


def test_a_resampled_positional_embedding_keeps_the_class_token_and_constants(tmp_path: Path) -> None:
    vit = random_clip(tmp_path, "tiny").vit
    with torch.no_grad():
        vit.visual.positional_embedding[1:] = 0.25
    resampled = vit.positions((9, 5))
    assert resampled.shape == (1 + 45, 32)
    torch.testing.assert_close(resampled[0], vit.visual.positional_embedding[0])
    torch.testing.assert_close(resampled[1:], torch.full((45, 32), 0.25))


def test_a_positional_embedding_is_resampled_row_by_row(tmp_path: Path) -> None:
    vit = random_clip(tmp_path, "tiny").vit
    ramp = torch.arange(6.0)[:, None].expand(6, 8)  # grows from the upper row to the lower
    with torch.no_grad():
        vit.visual.positional_embedding[1:] = ramp.reshape(-1, 1)
    seen = vit.positions((12, 8))[1:, 0].reshape(12, 8)
    torch.testing.assert_close(seen, seen[:, :1].expand(12, 8))
    assert (seen.diff(dim=0) > 0).all()


def test_attention_is_that_of_torch_and_its_rows_sum_to_one() -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(12, 3, batch_first=True).eval()
    nn.init.normal_(layer.in_proj_bias)
    tokens = torch.randn(2, 7, 12)
    expected, expected_weights = layer(tokens, tokens, tokens)
    mixed, weights = attend(layer, tokens, tokens, weights=True)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(weights, expected_weights)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 7))
    torch.testing.assert_close(attend(layer, tokens, tokens)[0], expected)


def test_following_one_token_through_a_block_gives_its_row_of_the_whole(tmp_path: Path) -> None:
    vit = random_clip(tmp_path, "tiny").vit
    with torch.no_grad():
        tokens = vit.trunk(pixels_for(vit.visual)).values
        block = vit.blocks[-1]
        whole, _ = vit.block(block, tokens, block.ln_1(tokens))
        cls, _ = vit.block(block, tokens, block.ln_1(tokens), slice(0, 1))
    torch.testing.assert_close(cls, whole[:, :1])


def test_recording_attention_changes_no_token_and_keeps_one_map_per_block_passed(tmp_path: Path) -> None:
    vit = random_clip(tmp_path, "tiny").vit
    with torch.no_grad():
        plain = vit.trunk(pixels_for(vit.visual))
        recorder = AttentionRecorder(averaged={1}, keep_all=True)
        seen = vit.trunk(pixels_for(vit.visual), recorder=recorder)
    torch.testing.assert_close(seen.values, plain.values)
    assert [tuple(a.shape) for a in recorder.per_block] == [(2, 49, 49)] * 2
    torch.testing.assert_close(recorder.mean, recorder.per_block[1])


def test_the_mean_over_blocks_is_taken_on_the_way_and_equals_that_of_all_kept(tmp_path: Path) -> None:
    vit = random_clip(tmp_path, "tiny").vit
    with torch.no_grad():
        every, mean = AttentionRecorder(keep_all=True), AttentionRecorder(averaged=range(2))
        vit.trunk(pixels_for(vit.visual), recorder=every)
        vit.trunk(pixels_for(vit.visual), recorder=mean)
    torch.testing.assert_close(mean.mean, torch.stack(every.per_block[:]).mean(0))
    assert mean.per_block[:] == []


def test_attention_in_several_pieces_is_the_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, tokens = nn.MultiheadAttention(12, 3, batch_first=True).eval(), torch.randn(2, 7, 12)
    whole = attend(layer, tokens, tokens, weights=True)
    monkeypatch.setattr(attention, "ROOM", 2 * 2 * 3 * 7)  # two rows at a time
    for found, expected in zip(attend(layer, tokens, tokens, weights=True), whole, strict=True):
        torch.testing.assert_close(found, expected)


def test_patches_are_embedded_as_by_the_convolution(tmp_path: Path) -> None:
    vit = random_clip(tmp_path, "tiny").vit
    pixels = pixels_for(vit.visual)
    with torch.no_grad():
        torch.testing.assert_close(vit.embed(pixels).values, vit.visual._embeds(pixels))


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"layers": [1, 1, 1, 1]}, "ModifiedResNet"),
        ({"attentional_pool": True, "attn_pooler_heads": 2}, "pools by attention"),
        ({"qk_norm": True}, "unusual kind"),
    ],
)
def test_other_image_towers_are_refused_with_a_reason(vision: dict, reason: str) -> None:
    config = {"image_size": 64, "layers": 2, "width": 32, "head_width": 8, "patch_size": 16, **vision}
    visual = open_clip.model._build_vision_tower(16, config)
    assert reason in (unsupported_reason(visual) or "")


def test_a_mean_over_patches_leaves_the_class_token_out(tmp_path: Path) -> None:
    vit = random_clip(tmp_path, "vit").vit
    values = torch.randn(2, 17, 32)
    expected = F.layer_norm(values[:, 1:], (32,), vit.visual.ln_post.weight, vit.visual.ln_post.bias).mean(1)
    torch.testing.assert_close(vit.pooled(values, "avg"), expected @ vit.visual.proj)
