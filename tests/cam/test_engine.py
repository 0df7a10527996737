"""Sizes, scales, flips and refinement around any method."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.cam.configs import by_caa, caa_params, cam_config
from tests.encoders.models import noise, random_clip
from wildseg.cam import affinity
from wildseg.cam.engine import activation_maps, input_size, maps_of
from wildseg.cam.maps import normalise, resample_maps
from wildseg.cam.record import record_clip
from wildseg.cam.refinement import Refinement
from wildseg.cam.tower_state import RecordConfig
from wildseg.encoders.clip import Clip, resize
from wildseg.methods.cam import gradcam, hirescam


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("engine"), "tiny")


@pytest.fixture(scope="module")
def texts(clip: Clip) -> Tensor:
    return clip.classifier([["sky"], ["road"], ["lawn"]], ["a photo of {}."])


@pytest.mark.parametrize(
    ("shape", "patch", "scale", "max_side", "expected"),
    [
        ((168, 224), 8, 1.0, None, (168, 224)),
        ((360, 480), 16, 1.0, None, (368, 480)),
        ((375, 500), 16, 0.5, None, (192, 256)),
        ((240, 240), 8, 0.7, None, (168, 168)),  # 0.7 * 240 / 8 is 21.000000000000004
        ((1080, 1920), 16, 1.0, 640, (368, 640)),
        ((1080, 1920), 16, 2.0, 640, (720, 1280)),
        ((100, 200), 16, 1.0, 640, (112, 208)),
        ((3, 5), 16, 0.1, None, (16, 16)),
    ],
)
def test_input_sizes_are_rounded_up_to_whole_patches(
    shape: tuple[int, int], patch: int, scale: float, max_side: int | None, expected: tuple[int, int]
) -> None:
    assert input_size(shape, (patch, patch), scale, max_side) == expected


def test_a_frame_of_the_native_size_is_seen_as_it_is(clip: Clip, texts: Tensor) -> None:
    image = noise((48, 64))
    trace = record_clip(clip, clip.pixels([image]), texts, (0, 2), 3)
    expected = maps_of(trace, cam_config(gradcam))
    found = activation_maps(clip, image, texts, (0, 2), 3, cam_config(gradcam))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert found.dtype == np.float32


def test_maps_reach_from_zero_to_one(clip: Clip, texts: Tensor) -> None:
    maps = activation_maps(clip, noise((60, 90)), texts, (0, 1, 2), 3, cam_config(hirescam))
    assert maps.shape == (3, 8, 12)
    np.testing.assert_allclose(maps.min((1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(maps.max((1, 2)), 1, atol=1e-3)


@pytest.mark.parametrize("refine", [None, by_caa()])
def test_a_frame_without_any_class_has_no_map_on_the_same_grid(
    clip: Clip, texts: Tensor, refine: Refinement | None
) -> None:
    recipe = cam_config(gradcam, refine=refine, scales=(1.0, 1.5), flip=True)
    with_classes = activation_maps(clip, noise((48, 64)), texts, (1,), 3, recipe)
    assert activation_maps(clip, noise((48, 64)), texts, (), 3, recipe).shape == (0, *with_classes.shape[1:])


def test_scales_are_averaged_on_the_finest_grid(clip: Clip, texts: Tensor) -> None:
    image = noise((48, 64))
    fine = activation_maps(clip, image, texts, (0, 1), 3, cam_config(gradcam, scales=(2.0,)))
    coarse = activation_maps(clip, image, texts, (0, 1), 3, cam_config(gradcam, scales=(1.0,)))
    found = activation_maps(clip, image, texts, (0, 1), 3, cam_config(gradcam, scales=(1.0, 2.0)))
    enlarged = np.stack([cv2.resize(m, (16, 12), interpolation=cv2.INTER_LINEAR) for m in coarse])
    mean = (fine + enlarged) / 2
    mean -= mean.min((1, 2), keepdims=True)
    np.testing.assert_allclose(found, mean / mean.max((1, 2), keepdims=True), atol=1e-5)


def test_with_flip_the_maps_of_a_mirrored_frame_are_mirrored(clip: Clip, texts: Tensor) -> None:
    image, recipe = noise((48, 64)), cam_config(gradcam, flip=True, refine=by_caa())
    plain = activation_maps(clip, image, texts, (0, 1), 3, recipe)
    mirrored = activation_maps(clip, image[:, ::-1].copy(), texts, (0, 1), 3, recipe)
    np.testing.assert_allclose(mirrored[:, :, ::-1], plain, atol=1e-4)
    alone = activation_maps(clip, image, texts, (0, 1), 3, cam_config(gradcam, refine=by_caa()))
    assert np.abs(alone - plain).max() > 1e-3


def test_the_longer_side_is_limited(clip: Clip, texts: Tensor) -> None:
    image = noise((480, 640))
    found = activation_maps(clip, image, texts, (0,), 3, cam_config(gradcam, max_side=64))
    np.testing.assert_array_equal(
        found, activation_maps(clip, resize(image, (48, 64)), texts, (0,), 3, cam_config(gradcam))
    )


def test_refining_spreads_the_methods_own_maps_along_recorded_attention(clip: Clip, texts: Tensor) -> None:
    image, options = noise((48, 64)), {"layers": 2, "skip_last": 1}
    trace = record_clip(clip, clip.pixels([image]), texts, (0, 2), 3, config=RecordConfig(attention=True))
    mean = torch.stack(trace.attention[:2]).mean(0)  # of three blocks, the two before the last
    expected = normalise(affinity.refine(maps_of(trace, cam_config(gradcam)), mean, caa_params(**options)))
    found = activation_maps(clip, image, texts, (0, 2), 3, cam_config(gradcam, refine=by_caa(**options)))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_the_same_frame_gives_the_same_bytes(clip: Clip, texts: Tensor) -> None:
    recipe = cam_config(gradcam, flip=True, refine=by_caa())
    one, other = (activation_maps(clip, noise((48, 64)), texts, (0, 1), 3, recipe) for _ in range(2))
    assert one.tobytes() == other.tobytes()


def test_half_the_bits_change_a_map_by_less_than_a_ten_thousandth(clip: Clip, texts: Tensor) -> None:
    pixels = clip.pixels([noise((48, 64))])
    single = maps_of(record_clip(clip, pixels, texts, (0, 1), 3), cam_config(gradcam))
    clip.network.double()
    try:
        double = maps_of(record_clip(clip, pixels.double(), texts.double(), (0, 1), 3), cam_config(gradcam))
    finally:
        clip.network.float()
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=0)


def test_enlarging_maps_is_bilinear_about_half_pixel_centres() -> None:
    ramp = torch.tensor([[[0.0, 1.0]]])
    np.testing.assert_allclose(resample_maps(ramp, (1, 4))[0, 0], [0, 0.25, 0.75, 1])
    maps = torch.rand(2, 6, 8)
    expected = np.stack([cv2.resize(m, (20, 15), interpolation=cv2.INTER_LINEAR) for m in maps.numpy()])
    np.testing.assert_allclose(resample_maps(maps, (15, 20)), expected, atol=1e-6)
    np.testing.assert_allclose(resample_maps(torch.full((1, 3, 4), 0.7), (7, 9)), 0.7, atol=1e-6)
