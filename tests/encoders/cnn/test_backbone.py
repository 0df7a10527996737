"""Backbones: the features of an encoder's stages, beside those of timm and segmentation-models-pytorch themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save, save_file
from timm.layers import resample_abs_pos_embed

from tests.hub import Hub
from wildseg.core.errors import DataError, ModelError
from wildseg.encoders.cnn import backbone
from wildseg.encoders.cnn.backbone import Backbone
from wildseg.encoders.cnn.build import loaded


def make(name: str, stride: int, weights: str | None = None) -> Backbone:
    torch.manual_seed(0)
    return backbone.create(name, weights, stride, key="cam.options.classifier.encoder").eval()


def classifier(name: str) -> Any:  # noqa: ANN401
    """A whole network of timm, of which no tensor that is saved is as it began; in evaluation."""
    torch.manual_seed(1)
    network = timm.create_model(name)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.02 * torch.rand_like(tensor))
    return network.eval()


def save_whole(network: torch.nn.Module, path: Path, prefix: str = "") -> str:
    save_file({f"{prefix}{name}": value.contiguous() for name, value in network.state_dict().items()}, path)
    return str(path)


def compare(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert [x.shape for x in found] == [x.shape for x in expected]
    assert all(bool(x.std() > 0) for x in found)
    for x, y in zip(found, expected, strict=True):
        assert float((x - y).abs().max()) <= 1e-5 * float(y.abs().max())


@pytest.mark.parametrize(
    ("name", "stride", "channels", "strides"),
    [
        ("resnet18", 8, (64, 64, 128, 256, 512), (2, 4, 8, 8, 8)),
        ("tu-resnet18", 32, (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
        ("tu-regnetx_002", 16, (32, 24, 56, 152, 368), (2, 4, 8, 16, 16)),
        ("tu-tf_efficientnet_lite0", 8, (16, 24, 40, 112, 320), (2, 4, 8, 8, 8)),
        ("tu-mobilenetv3_small_050", 16, (16, 8, 16, 24, 288), (2, 4, 8, 16, 16)),
        ("tu-convnext_atto", 16, (40, 80, 160, 320), (4, 8, 16, 16)),
        ("mit_b0", 32, (32, 64, 160, 256), (4, 8, 16, 32)),
        ("tu-vit_tiny_patch16_224", 16, (192,), (16,)),
        ("tu-vit_small_patch14_dinov2", 14, (384,), (14,)),
    ],
)
def test_a_backbone_knows_channels_and_strides_of_its_stages(
    name: str, stride: int, channels: tuple, strides: tuple
) -> None:
    found = make(name, stride)
    assert (found.channels, found.strides) == (channels, strides)
    height, width = 4 * stride, 6 * stride
    with torch.no_grad():
        features = found(torch.rand(2, 3, height, width))
    expected = [(2, c, height // s, width // s) for c, s in zip(channels, strides, strict=True)]
    assert [tuple(x.shape) for x in features] == expected


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("resnet18", "fc"),
        ("regnetx_002", "head"),
        ("tf_efficientnet_lite0", "bn2, classifier, conv_head"),
        ("mobilenetv3_small_050", "classifier, conv_head"),
        ("convnext_atto", "head"),
        ("vit_tiny_patch16_224", "head"),
        ("vit_wee_patch16_reg1_gap_256", "fc_norm, head"),
        ("deit_tiny_distilled_patch16_224", "head, head_dist"),
        ("vit_tiny_patch16_dinov3_qkvb", None),
    ],
)
def test_a_file_of_timms_whole_network_gives_the_features_of_that_network(
    name: str, heads: str | None, tmp_path: Path
) -> None:
    whole = classifier(name)
    stride = 16 if "patch16" in name else 32
    found = make(f"tu-{name}", stride, save_whole(whole, tmp_path / "w.safetensors", "module.backbone."))
    assert loaded(found).endswith(f"; left out: {heads}" if heads else "tensors from w.safetensors")
    pixels = torch.rand(1, 3, 256, 256) if "256" in name else torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        last, stages = whole.forward_intermediates(pixels)
        if stride == 32:
            compare(found(pixels), stages)
        else:  # tokens: what stands before the grid's is of the whole image
            tokens = last[:, whole.num_prefix_tokens :]
            compare(found(pixels), [tokens.mT.unflatten(2, (pixels.shape[2] // 16, pixels.shape[3] // 16))])


def test_windows_are_those_of_timms_network_and_images_have_any_size(tmp_path: Path) -> None:
    whole = classifier("swin_s3_tiny_224")
    found = make("tu-swin_s3_tiny_224", 32, save_whole(whole, tmp_path / "w.safetensors"))
    assert loaded(found).endswith("; left out: head, norm")
    pixels = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        compare(found(pixels), whole.forward_intermediates(pixels, intermediates_only=True))
        assert found(torch.rand(1, 3, 64, 160))[-1].shape == (1, 768, 2, 5)


def test_position_embeddings_are_resampled_to_images_of_other_sizes(tmp_path: Path) -> None:
    whole = classifier("vit_tiny_patch16_224")
    found = make("tu-vit_tiny_patch16_224", 16, save_whole(whole, tmp_path / "w.safetensors"))
    other = timm.create_model("vit_tiny_patch16_224", img_size=(96, 160))
    state = {**whole.state_dict(), "pos_embed": resample_abs_pos_embed(whole.pos_embed, (6, 10), num_prefix_tokens=1)}
    other.load_state_dict(state)
    pixels = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        expected = other.eval().forward_features(pixels)[:, 1:].mT.unflatten(2, (6, 10))
        compare(found(pixels), [expected])


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
@pytest.mark.parametrize("stride", [8, 32])
def test_features_are_those_of_segmentation_models_pytorch(name: str, stride: int) -> None:
    found = make(name, stride)
    other = smp.encoders.get_encoder(name, weights=None, output_stride=stride)
    other.load_state_dict(found.encoder.state_dict())
    pixels = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        compare(found(pixels), other.eval()(pixels)[1:])


def test_dilation_fills_in_cells_between_those_of_the_strided_network() -> None:
    # With holes in place of strides a convolution sees what it saw before, at every cell that there was before.
    strided, dilated = make("tu-resnet18", 32), make("tu-resnet18", 8)
    pixels = torch.rand(1, 3, 128, 96)
    with torch.no_grad():
        compare([dilated(pixels)[-1][..., ::4, ::4]], [strided(pixels)[-1]])


def test_without_dilation_it_is_a_network_whose_last_stage_has_no_stride() -> None:
    from torchvision.models import resnet50

    found = make("tu-resnet50", 16)
    backbone.remove_dilation(found)
    plain = resnet50(weights=None).eval()
    plain.layer4[0].conv2.stride = plain.layer4[0].downsample[0].stride = (1, 1)
    weights = {name.removeprefix("encoder.model."): value for name, value in found.state_dict().items()}
    plain.load_state_dict(weights, strict=False)
    pixels = torch.randn(1, 3, 64, 96)
    expected = plain.maxpool(plain.relu(plain.bn1(plain.conv1(pixels))))
    for stage in (plain.layer1, plain.layer2, plain.layer3, plain.layer4):
        expected = stage(expected)
    compare(found(pixels)[-1:], [expected])


def test_what_pre_training_alone_needs_is_left_out(tmp_path: Path) -> None:
    state = classifier("vit_tiny_patch16_224").state_dict()
    extra = {name: torch.zeros(1, 1, 192) for name in ("mask_token", "decoder_blocks.0.norm1.weight")}
    save_file({f"teacher.backbone.{key}": value for key, value in (state | extra).items()}, tmp_path / "w.safetensors")
    found = make("tu-vit_tiny_patch16_224", 16, str(tmp_path / "w.safetensors"))
    assert loaded(found).endswith("; left out: decoder_blocks, head, mask_token")


def test_a_published_set_is_fetched_and_brings_its_normalisation(hub: Hub) -> None:
    torch.manual_seed(1)
    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    repo = timm.get_pretrained_cfg("vit_tiny_patch16_224").hf_hub_id
    hub.repositories[repo] = {"model.safetensors": save(state)}
    found = make("tu-vit_tiny_patch16_224", 16, "imagenet")
    assert torch.equal(found.encoder.state_dict()["model.pos_embed"], state["pos_embed"])
    assert found.norm.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "stride", "line"),
    [
        ("densenet121", 16, "densenet121 cannot be dilated to an output stride of 16; its own is 32"),
        ("tu-hgnetv2_b0", 8, "tu-hgnetv2_b0 cannot be dilated to an output stride of 8; its own is 32"),
        ("tu-vit_tiny_patch16_224", 8, "output stride of 8, that of tu-vit_tiny_patch16_224 is 16, its patch"),
        ("tu-mixer_s32_224", 32, "expected an encoder for images of any size; tu-mixer_s32_224 fails on 64x64"),
        ("resnet19", 16, "found 'resnet19'; did you mean 'resnet18'?"),
        ("tu-resnet10x", 16, "found 'tu-resnet10x'; did you mean 'tu-resnet10t'?"),
    ],
)
def test_an_encoder_that_does_not_serve_is_one_line_that_names_the_parameter(name: str, stride: int, line: str) -> None:
    with pytest.raises(ModelError) as caught:
        make(name, stride)
    assert str(caught.value).startswith("cam.options.classifier.encoder: ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ("imagnet", "cam.options.classifier.encoder_weights: expected null, a .safetensors file or, for resnet18, "),
        ("w.pth", "cam.options.classifier.encoder_weights: expected a .safetensors file; 'w.pth' is a pickle"),
        ("no.safetensors", "cam.options.classifier.encoder_weights: no.safetensors: expected a .safetensors file"),
    ],
)
def test_weights_that_do_not_serve_are_one_line_that_names_the_parameter(weights: str, line: str) -> None:
    with pytest.raises((ModelError, DataError)) as caught:
        make("resnet18", 16, weights)
    assert str(caught.value).startswith(line)


def test_images_that_no_grid_of_patches_covers_are_refused() -> None:
    with pytest.raises(ModelError, match=r"multiples of 16 pixels, the patch of vit_tiny_patch16_224; found 40x32"):
        make("tu-vit_tiny_patch16_224", 16)(torch.rand(1, 3, 32, 40))


def test_gradients_reach_the_first_stage() -> None:
    found = make("tu-mobilenetv3_small_050", 16).train()
    found(torch.rand(2, 3, 64, 64))[-1].sum().backward()
    assert float(next(found.parameters()).grad.abs().sum()) > 0
