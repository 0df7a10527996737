"""Dense methods change the last block's attention and nothing else: against the block itself, and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.encoders.models import noise, random_clip
from wildseg.cam.dense import attention
from wildseg.cam.record import record_clip
from wildseg.cam.trace import Trace
from wildseg.core.errors import ParamsError
from wildseg.encoders.clip import Clip
from wildseg.methods.cam import cam, clearclip, maskclip, naclip, sclip, scorecam

WORDS = [["sky"], ["road"], ["lawn"], ["water"]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("dense"), "vit-quickgelu")


@pytest.fixture(scope="module")
def texts(clip: Clip) -> Tensor:
    return clip.classifier(WORDS, ["{}"])


@pytest.fixture(scope="module")
def trace(clip: Clip, texts: Tensor) -> Trace:
    return record_clip(clip, clip.pixels([noise((64, 96))]), texts, (0, 2), 3)


def vanilla(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention(query, key) @ value


def test_the_attention_of_the_model_itself_gives_the_model_s_own_tokens(
    clip: Clip, trace: Trace, texts: Tensor
) -> None:
    with torch.no_grad():
        tokens = clip.vit.trunk(clip.pixels([noise((64, 96))]))
        last = clip.vit.blocks[-1]
        visual = clip.network.visual
        after = last(tokens.values)  # open_clip's own block
        features = F.normalize(visual.ln_post(after)[0, 1:] @ visual.proj, dim=-1)
    assert trace.dense is not None
    found = trace.dense(vanilla, True, True)
    torch.testing.assert_close(found, (features @ texts.T).T.unflatten(1, tokens.grid), atol=1e-5, rtol=0)


def test_maskclip_is_the_value_path_alone(clip: Clip, trace: Trace, texts: Tensor) -> None:
    with torch.no_grad():
        tokens = clip.vit.trunk(clip.pixels([noise((64, 96))]))
        last, visual = clip.vit.blocks[-1], clip.network.visual
        width = last.attn.embed_dim
        values = F.linear(last.ln_1(tokens.values), last.attn.in_proj_weight[-width:], last.attn.in_proj_bias[-width:])
        out = last.attn.out_proj(values)  # no attention: every patch keeps its own value
        strict = F.normalize(visual.ln_post(out)[0, 1:] @ visual.proj, dim=-1) @ texts.T  # (h*w, M)
    expected = (100 * strict).softmax(1)[:, [0, 2]].T.unflatten(1, tokens.grid)
    torch.testing.assert_close(maskclip.cam(trace, strict=True, competitors="all"), expected, atol=1e-4, rtol=0)
    assert (maskclip.cam(trace, competitors="all") - expected).abs().max() > 1e-3


def test_where_queries_equal_keys_clearclip_is_the_model_s_attention_and_sclip_twice_that() -> None:
    torch.manual_seed(0)
    same, value = torch.randn(7, 4), torch.randn(7, 4)
    torch.testing.assert_close(clearclip.query_attention(same, same, value), vanilla(same, same, value))
    torch.testing.assert_close(sclip.correlative_attention(same, same, value), 2 * vanilla(same, same, value))


def test_rows_of_attention_sum_to_one() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(5, 4), torch.randn(5, 4)
    expected = torch.tensor([[(a[i] @ b[j] / 2).exp() for j in range(5)] for i in range(5)])
    torch.testing.assert_close(attention(a, b), expected / expected.sum(1, keepdim=True))
    torch.testing.assert_close(attention(a, b, torch.randn(5, 5)).sum(1), torch.ones(5))


def test_the_neighbourhood_of_naclip_on_a_grid_of_3x3() -> None:
    omega = naclip.neighbourhood(3, 3, 5.0)
    assert omega[0].tolist() == [0.0] * 10
    assert omega[:, 0].tolist() == [0.0] * 10
    corner, edge = 0.960789, 0.980199
    centre = torch.tensor([corner, edge, corner, edge, 1, edge, corner, edge, corner])
    torch.testing.assert_close(omega[5, 1:], centre, atol=1e-6, rtol=0)


def test_the_neighbourhood_counts_rows_and_columns_as_they_are() -> None:
    omega = naclip.neighbourhood(2, 4, 1.5)[1:, 1:].reshape(2, 4, 2, 4)
    for y in range(2):
        for x in range(4):
            assert omega[0, 1, y, x].item() == pytest.approx(2.718281828 ** (-(y**2 + (x - 1) ** 2) / (2 * 1.5**2)))


def test_a_narrow_neighbourhood_draws_a_patch_to_itself_and_a_wide_one_to_all_patches_alike() -> None:
    narrow, wide = naclip.neighbourhood(2, 3, 1e-3), naclip.neighbourhood(2, 3, 1e6)
    torch.testing.assert_close(narrow[1:, 1:], torch.eye(6))
    torch.testing.assert_close(wide[1:, 1:], torch.ones(6, 6))


@pytest.mark.parametrize("method", [maskclip, sclip, clearclip, naclip])
def test_probabilities_are_shared_between_the_present_and_the_background_alone(
    method: type, clip: Clip, texts: Tensor
) -> None:
    pixels = clip.pixels([noise((64, 96))])
    whole = record_clip(clip, pixels, texts, (0, 1, 2, 3), 4)
    torch.testing.assert_close(method.cam(whole).sum(0), torch.ones(4, 6))
    two = record_clip(clip, pixels, texts, (0, 2), 3)  # 1 is absent, 3 is a background phrase
    every = method.cam(whole)
    torch.testing.assert_close(method.cam(two), every[[0, 2]] / every[[0, 2, 3]].sum(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(method.cam(two, competitors="all"), every[[0, 2]], atol=1e-5, rtol=0)


def test_an_option_that_means_nothing_is_told_with_the_nearest(trace: Trace) -> None:
    with pytest.raises(ParamsError, match=r"cam\.options\.sclip\.competitors: .* 'presnt'; did you mean 'present'"):
        sclip.cam(trace, competitors="presnt")
    with pytest.raises(ParamsError, match=r"cam\.options\.naclip\.sigma: expected a number above 0, found 0"):
        naclip.cam(trace, sigma=0)
    with pytest.raises(ParamsError, match=r"cam\.options\.scorecam\.score: .* 'logits'; did you mean 'logit'"):
        scorecam.cam(trace, score="logits")


def test_the_image_seen_again_under_a_mask_is_scored_as_the_model_scores_it(
    clip: Clip, trace: Trace, texts: Tensor, tmp_path: Path
) -> None:
    pixels = clip.pixels([noise((64, 96))])
    masks = torch.rand(3, *pixels.shape[2:])
    assert trace.rescore is not None
    with torch.no_grad():
        expected = torch.cat([clip.logits(F.normalize(clip.vit.features(pixels * m), dim=-1), texts) for m in masks])
    torch.testing.assert_close(trace.rescore(masks), expected, atol=1e-3, rtol=0)


def score_trace(channels: Tensor, scores: Tensor) -> Trace:
    """A trace of one class whose masked images score as given."""
    return Trace(channels[None], (0,), 1, lambda *_: channels, rescore=lambda masks: scores[: len(masks)], size=(4, 4))


def test_scorecam_of_one_channel_is_that_channel() -> None:
    channels = torch.tensor([[[1.0, -2.0], [3.0, 0.5]]])
    torch.testing.assert_close(scorecam.cam(score_trace(channels, torch.tensor([[7.0]])))[0], channels[0].relu())


def test_scorecam_of_channels_that_score_alike_is_their_mean() -> None:
    channels = torch.rand(5, 2, 2)
    torch.testing.assert_close(scorecam.cam(score_trace(channels, torch.full((5, 1), 3.0)))[0], channels.mean(0))


def test_scorecam_weighs_by_the_softmax_of_scores_and_a_constant_channel_is_no_trouble() -> None:
    channels = torch.stack([torch.full((2, 2), 4.0), torch.tensor([[0.0, 1.0], [0.0, 0.0]])])
    found = scorecam.cam(score_trace(channels, torch.tensor([[0.0], [2.0]])))[0]
    weight = 1 / (1 + 2.718281828**2)
    torch.testing.assert_close(found, weight * channels[0] + (1 - weight) * channels[1])


def test_cam_of_a_model_that_averages_its_patches_is_what_each_patch_says_by_itself(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "avg")
    texts = clip.classifier(WORDS, ["{}"])
    pixels = clip.pixels([noise((48, 64))])
    trace = record_clip(clip, pixels, texts, (1, 3), 4)
    with torch.no_grad():
        tokens = clip.vit.trunk(pixels, leave=0)
        patches = clip.network.visual.ln_post(tokens.values)[0, 1:] @ clip.network.visual.proj @ texts[[1, 3]].T
        feature = clip.vit.features(pixels)[0]
    found = cam.cam(trace)
    torch.testing.assert_close(found, patches.T.relu().unflatten(1, tokens.grid), atol=1e-5, rtol=0)
    # Their mean, before what is negative is cut off, is the cosine times the feature's length.
    torch.testing.assert_close(patches.mean(0), (feature @ texts[[1, 3]].T), atol=1e-5, rtol=0)
