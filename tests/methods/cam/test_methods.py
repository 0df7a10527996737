"""What every CAM method must keep to; a new file in cam/methods is tested the moment it appears."""

from __future__ import annotations

import gc
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.cam.configs import by_caa, cam_config, colours
from tests.cam.networks import ConvNet
from tests.encoders.models import noise, random_clip
from wildseg.cam.engine import activation_maps, maps_of
from wildseg.cam.record import record_clip, record_module
from wildseg.cam.tower_state import RecordConfig
from wildseg.core import lookup
from wildseg.core.errors import ModelError
from wildseg.encoders.clip import Clip
from wildseg.encoders.vit import ViT

METHODS = [
    name for name in lookup.available("methods.cam") if not {"network", "files"} & lookup.needs("methods.cam", name)
]
CLASSES = (0, 2, 3)
RECORDED = RecordConfig(attention=True, encoder=colours)
TRANSFORMER = {"attention", "attention_gradients", "dense", "blocks", "encoder"}  # what a CNN cannot give
KNOWN_NEEDS = {"gradients", "head", "rescore", "competition"} | TRANSFORMER


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("shared"), "tiny")


@pytest.fixture
def network() -> ConvNet:
    torch.manual_seed(3)
    return ConvNet(mirrored=True)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> ModuleType:
    return lookup.load("methods.cam", request.param)


def skip_what_a_cnn_lacks(method: ModuleType) -> None:
    """What a method does that needs attention, or the weights of the classifier, is tested where there are such."""
    if (TRANSFORMER | {"head"}) & method.NEEDS:
        pytest.skip("needs what this network has not")


def skip_what_a_class_token_lacks(method: ModuleType, clip: Clip) -> None:
    """A model that pools its class token has no linear classifier behind a mean, and a ResNet no blocks."""
    if "blocks" in method.NEEDS and not isinstance(clip.tower(), ViT):
        pytest.skip("needs the blocks of a transformer")
    if "head" in method.NEEDS and clip.tower().pool == "tok":
        pytest.skip("needs a model that averages its patches")


def assert_told_apart(maps: torch.Tensor, method: ModuleType) -> None:
    """Maps of three classes (3, h, w) differ, or are one map where the method says that it knows no classes."""
    if getattr(method, "CLASS_AGNOSTIC", False):
        assert torch.equal(maps[0], maps[1])
        assert maps[0].std() > 0.05
        return
    for one in range(3):
        for other in range(one):
            assert (maps[one] - maps[other]).abs().max() > 0.05


def test_it_says_what_it_needs_and_where_it_comes_from(method: ModuleType) -> None:
    assert set(method.NEEDS) <= KNOWN_NEEDS
    assert any(character.isdigit() for character in method.__doc__.splitlines()[0])


def test_maps_of_a_cnn_have_the_right_shape_and_no_odd_values(method: ModuleType, network: ConvNet) -> None:
    trace = record_module(network, network.features, torch.randn(1, 3, 10, 12), CLASSES)
    if (TRANSFORMER | {"head"}) & method.NEEDS:
        with pytest.raises(ModelError, match="this network (has none|does not end)"):
            method.cam(trace)
        return
    maps = method.cam(trace)
    assert maps.shape == (3, 10, 12)
    assert torch.isfinite(maps).all()
    assert (maps >= 0).all()
    assert (maps > 0).any()


def test_maps_of_a_transformer_have_the_right_shape_and_no_odd_values(method: ModuleType, clip: Clip) -> None:
    skip_what_a_class_token_lacks(method, clip)
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    maps = method.cam(record_clip(clip, clip.pixels([noise((48, 64))]), texts, CLASSES, 4, config=RECORDED))
    assert maps.shape == (3, 6, 8)
    assert torch.isfinite(maps).all()
    assert (maps >= 0).all()


def test_a_resnet_without_blocks_is_refused_in_one_line(method: ModuleType, tmp_path: Path) -> None:
    if "blocks" not in method.NEEDS:
        pytest.skip("reads no blocks")
    clip = random_clip(tmp_path, "resnet")
    name = method.__name__.rpartition(".")[2]
    with pytest.raises(ModelError, match=rf"^cam\.method: {name} changes what passes between the blocks of"):
        activation_maps(clip, noise((64, 96)), clip.classifier([["sky"], ["road"]], ["{}"]), [1], 2, cam_config(method))


def test_maps_follow_a_left_right_flip(method: ModuleType, network: ConvNet) -> None:
    skip_what_a_cnn_lacks(method)
    pixels = torch.randn(1, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    plain = maps_of(record_module(network, network.features, pixels, CLASSES), cam_config(method))
    flipped = maps_of(record_module(network, network.features, pixels.flip(3), CLASSES), cam_config(method))
    torch.testing.assert_close(flipped.flip(2), plain, atol=1e-4, rtol=0)


def test_maps_differ_between_classes_unless_the_method_says_otherwise(method: ModuleType, network: ConvNet) -> None:
    skip_what_a_cnn_lacks(method)
    network.head.weight.data *= 20  # as a trained one's, by whose scores channels are told apart
    maps = maps_of(record_module(network, network.features, torch.randn(1, 3, 10, 12), CLASSES), cam_config(method))
    assert_told_apart(maps, method)


def test_nothing_is_left_behind_on_the_network(method: ModuleType, network: ConvNet) -> None:
    skip_what_a_cnn_lacks(method)
    network.train()
    network.features.eval()
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    method.cam(record_module(network, network.features, torch.randn(1, 3, 10, 12), CLASSES))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert torch.is_grad_enabled()


def test_nothing_is_left_behind_on_a_transformer(method: ModuleType, clip: Clip) -> None:
    skip_what_a_class_token_lacks(method, clip)
    texts = clip.classifier([["sky"], ["road"]], ["{}"])
    activation_maps(clip, noise((48, 64)), texts, [1], 2, cam_config(method))
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in clip.network.parameters())
    assert not any(m._forward_hooks or m._backward_hooks or m.training for m in clip.network.modules())


def test_asking_for_classes_in_another_order_gives_their_maps_in_that_order(method: ModuleType, clip: Clip) -> None:
    skip_what_a_class_token_lacks(method, clip)
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    pixels = clip.pixels([noise((48, 64))])
    there = maps_of(record_clip(clip, pixels, texts, (0, 2, 3), 4, RECORDED), cam_config(method))
    back = maps_of(record_clip(clip, pixels, texts, (3, 0, 2), 4, RECORDED), cam_config(method))
    torch.testing.assert_close(back, there[[2, 0, 1]], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["tiny", "vit-quickgelu", "avg", "patch14", "patch32"])
def test_maps_of_a_transformer_differ_between_classes_unless_the_method_says_otherwise(
    method: ModuleType, kind: str, tmp_path: Path
) -> None:
    clip = random_clip(tmp_path, kind)
    skip_what_a_class_token_lacks(method, clip)
    texts = clip.classifier([["sky"], ["road"], ["lawn"], ["water"]], ["{}"])
    size = tuple(6 * side for side in clip.tower().patch)
    pixels = clip.pixels([noise(size)])
    trace = record_clip(clip, pixels, texts, CLASSES, 4, config=RECORDED)
    maps = maps_of(trace, cam_config(method))
    assert_told_apart(maps, method)


@pytest.mark.parametrize("kind", ["tiny", "avg", "patch14", "resnet"])
def test_maps_can_be_refined_and_looked_at_in_several_sizes(method: ModuleType, kind: str, tmp_path: Path) -> None:
    clip = random_clip(tmp_path, kind)
    skip_what_a_class_token_lacks(method, clip)
    texts = clip.classifier([["sky"], ["road"], ["lawn"]], ["{}"])
    recipe = cam_config(method, refine=by_caa(layers=2), scales=(1.0, 1.5), flip=True)
    patch = clip.tower().patch
    maps = activation_maps(clip, noise((2 * patch[0], 4 * patch[1])), texts, [0, 2], 2, recipe)
    assert maps.shape == (2, 3, 6)
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() <= 1


@pytest.mark.parametrize("kind", ["tiny", "avg", "resnet"])
def test_a_frame_smaller_than_a_patch_has_one_cell_that_shows_nothing(
    method: ModuleType, kind: str, tmp_path: Path
) -> None:
    clip = random_clip(tmp_path, kind)
    skip_what_a_class_token_lacks(method, clip)
    texts = clip.classifier([["sky"], ["road"], ["lawn"]], ["{}"])
    maps = activation_maps(clip, noise((3, 5)), texts, [0, 2], 2, cam_config(method, refine=by_caa()))
    np.testing.assert_array_equal(maps, np.zeros((2, 1, 1)))


def test_a_frame_of_one_colour_gives_finite_maps(method: ModuleType, clip: Clip) -> None:
    skip_what_a_class_token_lacks(method, clip)
    texts = clip.classifier([["sky"], ["road"], ["lawn"]], ["{}"])
    maps = activation_maps(
        clip, np.full((48, 64, 3), 90, np.uint8), texts, [0, 2], 2, cam_config(method, refine=by_caa())
    )
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_memory_is_flat_over_frames(method: ModuleType, clip: Clip) -> None:
    skip_what_a_class_token_lacks(method, clip)
    texts = clip.classifier([["sky"], ["road"]], ["{}"])
    recipe = cam_config(method, refine=by_caa(layers=2))
    gc.collect()
    gc.freeze()  # what there is before is not counted: the modules of all tests are millions of objects

    def tensors_after(frames: int) -> int:  # how many are still there
        for number in range(frames):
            activation_maps(clip, noise((24, 32), number), texts, [0], 2, recipe)
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    assert tensors_after(3) == tensors_after(13)
