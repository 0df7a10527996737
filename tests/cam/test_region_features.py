"""Keys and values of regions: patches behind a middle block, and cosines as the method naclip has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.cam.configs import colours
from tests.encoders.models import noise, random_clip
from wildseg.cam import dense
from wildseg.cam.maps import resample_maps
from wildseg.cam.neighbourhood import neighbourhood
from wildseg.cam.record import record_clip
from wildseg.cam.region_features import RegionReader
from wildseg.encoders.clip import Clip, resize


def reader(clip: Clip, **changes: object) -> RegionReader:
    plain = {"clusters": 4, "scale": 1.0, "max_side": None, "pos_embed_interpolation": "bicubic"}
    return RegionReader(clip, **{**plain, **changes})  # type: ignore[arg-type]


def mean_over(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([values[labels == number].mean(0) for number in range(labels.max() + 1)])


@pytest.mark.parametrize("kind", ["tiny", "avg", "resnet"])
def test_values_are_means_of_the_cosines_of_naclip(kind: str, tmp_path: Path) -> None:
    clip = random_clip(tmp_path, kind)
    side = 8 if kind == "tiny" else 32
    image = noise((6 * side, 8 * side))
    found = reader(clip).read(image)
    texts = F.normalize(torch.randn(5, found.values.shape[1], generator=torch.Generator().manual_seed(0)), dim=-1)
    trace = record_clip(clip, clip.pixels([image]), texts, [0], 5)
    near = neighbourhood(*found.labels.shape, 5.0)
    assert trace.dense is not None
    cosines = trace.dense(lambda _, k, v: dense.attention(k, k, near) @ v, False, False)
    expected = mean_over(cosines.flatten(1).T.numpy(), found.labels.ravel())
    np.testing.assert_allclose(found.values @ texts.T.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "block"), [("tiny", 2), ("ten-blocks", 8)])
def test_keys_are_means_of_the_patches_behind_the_middle_block(kind: str, block: int, tmp_path: Path) -> None:
    clip = random_clip(tmp_path, kind)
    image = noise((48, 64))
    found = reader(clip).read(image)
    tokens = clip.vit.trunk(clip.pixels([image]), leave=len(clip.vit.blocks) - block).values[0, 1:]  # after `block`
    means = mean_over(tokens.detach().numpy(), found.labels.ravel())
    np.testing.assert_allclose(found.keys, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)


def test_keys_of_a_resnet_are_those_of_its_last_stage_and_of_a_second_encoder_its_features(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "resnet")
    image = noise((96, 128))
    layer = record_clip(clip, clip.pixels([image]), torch.eye(16)[:2], [0], 2).activations[0]
    for found, features in (
        (reader(clip).read(image), layer),
        (reader(clip, encoder=colours).read(image), resample_maps(colours(clip.pixels([image]))[0], (3, 4))),
    ):
        means = mean_over(features.flatten(1).T.numpy(), found.labels.ravel())
        np.testing.assert_allclose(found.keys, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)


def test_the_frame_is_read_at_its_scale_and_not_beyond_the_longest_side(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "tiny")
    image = noise((48, 64))
    assert reader(clip, scale=1.5).read(image).labels.shape == (9, 12)
    assert reader(clip, max_side=32).read(image).labels.shape == (3, 4)
    larger = reader(clip).read(resize(image, (72, 96)))
    np.testing.assert_array_equal(larger.labels, reader(clip, scale=1.5).read(image).labels)
