from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

from tests.hub import nobody, point_to
from wildseg.core.errors import DataError, ModelError
from wildseg.methods.architectures import unet

SMALL = {"encoder_depth": 3, "decoder_channels": [16, 16, 8]}


def encoder_of(weights: str | None, name: str = "resnet18") -> torch.nn.Module:
    return unet.build(2, name, weights, **SMALL).encoder


def test_an_unknown_encoder_is_told_its_nearest_neighbour() -> None:
    with pytest.raises(ModelError, match=r"found 'resnet19'; did you mean 'resnet18'\?"):
        encoder_of(None, "resnet19")
    with pytest.raises(ModelError, match=r"found 'tu-resnet10x'; did you mean 'tu-resnet10t'\?"):
        encoder_of(None, "tu-resnet10x")


def test_networks_of_timm_serve_as_encoders() -> None:
    network = unet.build(2, "tu-mobilenetv3_small_050", None, **SMALL).eval()
    assert network(torch.rand(1, 3, 37, 50)).shape == (1, 3, 37, 50)


def test_a_network_for_one_size_of_image_is_refused() -> None:
    with pytest.raises(ModelError, match="expected an encoder for images of any size"):
        unet.build(2, "tu-efficientformer_l1", None)


def test_unknown_published_weights_are_told_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"resnet18, imagenet, ssl, swsl; found 'imagnet'; did you mean 'imagenet'"):
        encoder_of("imagnet")


def test_weights_that_cannot_be_fetched_are_one_line_and_never_silently_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(nobody(), tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=r"'imagenet' of resnet18 could not be fetched.*connection refused") as caught:
        encoder_of("imagenet")
    assert "\n" not in str(caught.value)
    assert "hf download smp-hub/resnet18.imagenet config.json model.safetensors --revision " in str(caught.value)
    assert "or give null or a local .safetensors file" in str(caught.value)


def test_a_local_file_gives_the_encoder_its_weights(tmp_path: Path) -> None:
    published = smp.encoders.get_encoder("resnet18", weights=None).state_dict()
    file = tmp_path / "resnet18.safetensors"
    save_file({**published, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, file)
    loaded = encoder_of(str(file)).state_dict()
    assert loaded
    assert all(torch.equal(value, published[name]) for name, value in loaded.items())


def test_a_whole_segmenter_gives_its_encoder(tmp_path: Path) -> None:
    network = smp.Unet("resnet18", encoder_weights=None, classes=7)
    file = tmp_path / "segmenter.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, file)
    loaded = encoder_of(str(file)).state_dict()
    assert torch.equal(loaded["layer2.0.conv1.weight"], network.encoder.state_dict()["layer2.0.conv1.weight"])


def test_a_local_file_that_does_not_fit_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match="does not fit resnet18: .*conv1.weight") as caught:
        encoder_of(str(file))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_local_file_that_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    with pytest.raises(DataError, match="expected a .safetensors file"):
        encoder_of(str(file))
    file.write_bytes(b"not weights")
    with pytest.raises(DataError, match="expected a .safetensors file"):
        encoder_of(str(file))


def test_stages_that_are_never_run_are_not_kept() -> None:
    whole = smp.Unet("resnet18", encoder_weights=None, encoder_depth=3, decoder_channels=(16, 16, 8), classes=3)
    ours = unet.build(2, "resnet18", None, **SMALL)
    names = ours.state_dict().keys()
    assert not any(name.startswith(("encoder.layer3", "encoder.layer4")) for name in names)
    # What is left is exactly what learns: every parameter of the bare network that gets a gradient.
    whole(torch.rand(2, 3, 32, 32)).sum().backward()
    learns = {name for name, parameter in whole.named_parameters() if parameter.grad is not None}
    assert {name for name, _ in ours.named_parameters()} == learns


def test_encoders_whose_stages_are_run_by_their_parts_keep_them() -> None:
    bare = smp.Unet("densenet121", encoder_weights=None, classes=3)
    kept = unet.build(2, "densenet121", None).state_dict().keys()
    assert "encoder.features.denseblock4.denselayer1.conv1.weight" in kept
    assert kept == bare.state_dict().keys()
