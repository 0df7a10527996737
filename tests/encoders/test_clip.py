"""Text vectors, image vectors and logits of a loaded model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.encoders.models import noise, random_clip
from wildseg.encoders.clip import resize


def test_the_classifier_is_the_unit_mean_of_unit_sentence_features(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    sentences = [["a photo of lawn, grass.", "lawn, grass"], ["a photo of curb.", "curb"]]
    with torch.no_grad():
        rows = [F.normalize(clip.network.encode_text(clip.tokenizer(own)), dim=-1).mean(0) for own in sentences]
    expected = F.normalize(torch.stack(rows), dim=-1)
    found = clip.classifier([["lawn", "grass"], ["curb"]], ["a photo of {}.", "{}"])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))


def test_with_one_template_averaging_before_or_after_normalising_is_the_same(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "vit")
    with torch.no_grad():
        plain = F.normalize(clip.network.encode_text(clip.tokenizer(["a photo of lawn."])), dim=-1)
    torch.testing.assert_close(clip.classifier([["lawn"]], ["a photo of {}."]), plain)


def test_a_text_does_not_depend_on_the_padding_behind_its_end(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    tokens = clip.tokenizer(["lawn"])
    padded = torch.where(tokens == 0, 17, tokens)
    with torch.no_grad():
        torch.testing.assert_close(clip.network.encode_text(tokens), clip.network.encode_text(padded))


def test_logits_are_scaled_cosines_plus_the_bias(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    pixels, text = clip.pixels([noise((48, 64))]), clip.tokenizer(["lawn", "sky"])
    with torch.no_grad():
        expected, _ = clip.network.get_logits(pixels, text)
    found = clip.logits(clip.image_features(pixels), clip.text_features(["lawn", "sky"]))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert clip.bias is not None
    assert random_clip(tmp_path, "vit").bias is None


def test_pixels_are_those_of_open_clips_own_preparation(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "vit")
    image = noise((90, 130))
    prepare = open_clip.image_transform(64, is_train=False, mean=clip.mean, std=clip.std, resize_mode="squash")
    torch.testing.assert_close(clip.pixels([resize(image, (64, 64))])[0], prepare(Image.fromarray(image)))


def test_an_image_of_the_native_size_is_not_touched() -> None:
    image = noise((48, 64))
    assert resize(image, (48, 64)) is image


def test_a_box_is_cut_out_before_resizing() -> None:
    image = noise((40, 60))
    np.testing.assert_array_equal(resize(image, (20, 30), (10, 5, 40, 25)), image[5:25, 10:40])


def test_a_loaded_model_is_frozen_and_in_evaluation_mode(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    assert not any(p.requires_grad for p in clip.network.parameters())
    assert not any(m.training for m in clip.network.modules())
    assert {p.dtype for p in clip.network.parameters()} == {torch.float32}


def test_a_sentence_longer_than_the_model_reads_is_told(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    with pytest.warns(UserWarning, match="reads 30 tokens"):
        clip.classifier([["grey concrete pavement with puddles " * 5]], ["{}"])


@pytest.mark.parametrize("kind", ["tiny", "avg", "resnet"])
def test_differentiable_features_are_image_features(kind: str, tmp_path: Path) -> None:
    clip = random_clip(tmp_path, kind)
    pixels = torch.randn(2, 3, *clip.size, requires_grad=True)
    found = clip.differentiable_features(pixels)
    torch.testing.assert_close(found, clip.image_features(pixels))
    torch.testing.assert_close(found, clip.network.encode_image(pixels, normalize=True), rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), pixels)
    assert gradient.abs().max() > 0
    assert gradient.isfinite().all()
    assert all(parameter.grad is None for parameter in clip.network.parameters())
