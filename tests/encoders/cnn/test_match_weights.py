"""Encoder weights from files, whoever saved them, and the published sets of timm and segmentation-models-pytorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save, save_file

from tests.hub import Hub
from wildseg.core.errors import ModelError
from wildseg.encoders.cnn import normalisation
from wildseg.encoders.cnn.build import loaded
from wildseg.methods.architectures import unet

FOUR = {"encoder_depth": 4, "decoder_channels": [16, 16, 8, 8]}
WHOLE = {
    "tu-tf_efficientnet_lite0": ["bn2", "classifier", "conv_head"],
    "tu-regnetx_002": ["head", "s4"],
    "tu-convnext_atto": ["head", "stages.3"],
    "tu-resnet18": ["fc", "layer4"],
    "tu-mobilenetv3_small_050": ["classifier", "conv_head"],
    "tu-hgnetv2_b0": ["head", "stages.3"],
    "resnet18": ["fc", "layer4"],
}


def random_state(name: str) -> dict[str, torch.Tensor]:
    """Random weights of a whole network of timm, in its own names; none of them is what a network begins with."""
    torch.manual_seed(1)
    state = timm.create_model(name.removeprefix("tu-")).state_dict()
    return {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in state.items()}


def write(path: Path, state: Mapping[str, torch.Tensor], **metadata: str) -> str:
    save_file({key: value.contiguous() for key, value in state.items()}, path, metadata or None)
    return str(path)


def plain(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by names in which stages are written alike, as in an encoder of timm and as in its whole network."""
    return {key.removeprefix("model.").replace(".", "_"): value for key, value in state.items()}


def encoder_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return network.get_submodule("encoder").state_dict()


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_network_of_timm_gives_its_encoder_and_what_is_left_out_is_named(name: str, tmp_path: Path) -> None:
    state = random_state(name)
    network = unet.build(2, name, write(tmp_path / "w.safetensors", state), **FOUR)
    given, own = plain(state), plain(encoder_state(network))
    assert own
    assert all(torch.equal(value, given[key]) for key, value in own.items())
    said = f"encoder weights: {len(own)} of {len(state)} tensors from w.safetensors; left out: {', '.join(WHOLE[name])}"
    assert loaded(network) == said


@pytest.mark.parametrize(
    "prefix",
    ["model.", "module.", "encoder.", "encoder.model.", "module.encoder.model.", "backbone.", "_orig_mod.model.",
     "student.backbone.", "module.base_network.", "model.resnet."],
)  # fmt: skip
@pytest.mark.parametrize("name", ["tu-regnetx_002", "resnet18"])
def test_whatever_stood_around_the_encoder_is_passed_over(prefix: str, name: str, tmp_path: Path) -> None:
    state = {key: value for key, value in random_state(name).items() if not key.startswith(("fc", "head"))}
    beside = {"decoder.w": torch.zeros(1), "segmentation_head.0.bias": torch.zeros(1)} if "encoder." in prefix else {}
    prefixed = {f"{prefix}{key}": value for key, value in state.items()}
    network = unet.build(2, name, write(tmp_path / "w.safetensors", {**prefixed, **beside}), **FOUR)
    given = plain(state)
    assert all(torch.equal(value, given[key]) for key, value in plain(encoder_state(network)).items())
    stage = "s4" if "regnet" in name else "layer4"
    assert loaded(network).endswith(f"; left out: {', '.join([stage, *(key.split('.')[0] for key in beside)])}")


@pytest.mark.parametrize("name", ["mit_b0", "mobilenet_v2", "densenet121", "tu-pvt_v2_b0"])
def test_an_encoders_own_weights_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    saved = smp.encoders.get_encoder(name, weights=None).state_dict()
    network = unet.build(2, name, write(tmp_path / "w.safetensors", saved))
    own = encoder_state(network)
    assert all(torch.equal(value, saved[key]) for key, value in own.items())
    assert loaded(network) == f"encoder weights: {len(own)} of {len(saved)} tensors from w.safetensors"


def test_a_trained_segmenter_gives_its_encoder_to_the_next(tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = unet.build(5, "tu-regnetx_002", None, **FOUR)
    network = unet.build(2, "tu-regnetx_002", write(tmp_path / "model.safetensors", before.state_dict()), **FOUR)
    old = encoder_state(before)
    assert all(torch.equal(value, old[key]) for key, value in encoder_state(network).items())
    assert loaded(network).endswith("left out: decoder, segmentation_head")


def test_what_old_versions_did_not_keep_may_be_missing_and_half_precision_is_widened(tmp_path: Path) -> None:
    state = {k: v.half() for k, v in random_state("resnet18").items() if not k.endswith("num_batches_tracked")}
    own = encoder_state(unet.build(2, "resnet18", write(tmp_path / "w.safetensors", state)))
    assert own["conv1.weight"].dtype == torch.float32
    assert torch.equal(own["layer1.0.bn1.running_var"], state["layer1.0.bn1.running_var"].float())


@pytest.mark.parametrize(
    ("of", "name", "reason"),
    [
        ("resnet34", "resnet18", r"of another architecture, such as layer1\.2\.bn1\.bias"),
        ("resnet18", "resnet34", r"tensors missing, such as layer1\.2\.conv1\.weight"),
        (
            "resnet50",
            "tu-resnet18",
            r"of another shape, such as layer1\.0\.conv1\.weight is \(64, 64, 1, 1\) instead of",
        ),
        ("regnetx_004", "tu-regnetx_002", "of another shape, such as s1"),
        ("convnext_atto", "tu-regnetx_002", r"tensors missing, such as stem\.conv\.weight"),
        ("mobilenetv3_small_050", "tu-tf_efficientnet_lite0", "tensors missing, such as"),
    ],
)
def test_weights_of_another_architecture_are_refused_in_one_line(
    of: str, name: str, reason: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "w.safetensors", random_state(of))
    with pytest.raises(ModelError, match=reason) as caught:
        unet.build(2, name, file)
    assert str(caught.value).startswith(f"train.encoder_weights: {file} does not fit {name}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_weights_of_grey_images_are_refused_by_their_shape(tmp_path: Path) -> None:
    state = random_state("resnet18")
    state["conv1.weight"] = state["conv1.weight"][:, :1]
    with pytest.raises(ModelError, match=r"conv1\.weight is \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)"):
        unet.build(2, "resnet18", write(tmp_path / "w.safetensors", state))


@pytest.mark.parametrize("name", ["tu-regnetx_002", "resnet18"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(3, dtype=torch.int8)])
def test_weights_that_are_no_finite_floats_are_refused(name: str, value: float | torch.Tensor, tmp_path: Path) -> None:
    state = random_state(name)
    key = next(key for key in state if key.endswith("conv1.weight") or key.endswith("stem.conv.weight"))
    state[key] = torch.full_like(state[key], value) if isinstance(value, float) else state[key].to(torch.int8)
    line = "1 hold NaN or infinity, such as" if isinstance(value, float) else "of int8; expected floats"
    with pytest.raises(ModelError, match=line) as caught:
        unet.build(2, name, write(tmp_path / "w.safetensors", state))
    assert "\n" not in str(caught.value)


def test_weights_that_lack_one_tensor_that_runs_are_refused(tmp_path: Path) -> None:
    state = random_state("tu-regnetx_002")
    del state["s2.b1.conv2.bn.running_mean"]
    with pytest.raises(ModelError, match=r"1 of \d+ tensors missing, such as s2\.b1\.conv2\.bn\.running_mean"):
        unet.build(2, "tu-regnetx_002", write(tmp_path / "w.safetensors", state))


def test_where_timm_has_the_network_under_the_same_name_it_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights of timm's efficientnet_b0 fit tu-efficientnet_b0"):
        unet.build(2, "efficientnet-b0", write(tmp_path / "w.safetensors", random_state("efficientnet_b0")))


# Published sets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        ("tu-regnetx_002", "imagnet", r"imagenet, pycls_in1k; found 'imagnet'; did you mean 'imagenet'\?"),
        ("tu-resnet18", "a1_in1K", r"did you mean 'a1_in1k'\?"),
        ("tu-resnet18.a1_in1k", "a2_in1k", "imagenet, a1_in1k; found 'a2_in1k'"),
        ("tu-resnet18.a9_in1k", None, r"of its weights \(.*\), found 'tu-resnet18.a9_in1k'; did you mean 'a\d_in1k'"),
        ("tu-efficientnet_l2", "imagenet", "without published weights in timm; found 'imagenet'"),
        ("mit_b0", "imagenet21k", r"for mit_b0, imagenet; found 'imagenet21k'; did you mean 'imagenet'\?"),
        ("resnet18", "weights.pth", "'weights.pth' is a pickle file, which can run code; convert it to safetensors"),
        ("tu-regnetx_002", "/somewhere/model.bin", "is a pickle file, which can run code; convert it to safetensors"),
    ],
)
def test_a_set_that_does_not_exist_is_refused_with_the_nearest(name: str, weights: str | None, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        unet.build(2, name, weights)


@pytest.mark.parametrize(
    ("name", "weights", "published"),
    [
        ("tu-regnetx_002", "imagenet", "regnetx_002.pycls_in1k"),
        ("tu-regnetx_002", "pycls_in1k", "regnetx_002.pycls_in1k"),
        ("tu-resnet18", "a3_in1k", "resnet18.a3_in1k"),
        ("tu-resnet18.a2_in1k", "imagenet", "resnet18.a2_in1k"),
        ("tu-tf_efficientnet_lite0", "in1k", "tf_efficientnet_lite0.in1k"),
    ],
)
def test_the_set_that_was_named_is_fetched(hub: Hub, name: str, weights: str, published: str) -> None:
    state = random_state(published)
    hub.repositories[timm.get_pretrained_cfg(published).hf_hub_id] = {"model.safetensors": save(state)}
    network = unet.build(2, name, weights, **FOUR)
    given = plain(state)
    assert all(torch.equal(value, given[key]) for key, value in plain(encoder_state(network)).items())
    assert loaded(network) == f"encoder weights: {weights} of {name}"


def test_a_published_pickle_is_called_one(hub: Hub, tmp_path: Path) -> None:
    torch.save({"state_dict": Path("anything")}, tmp_path / "evil.bin")
    hub.repositories["timm/regnetx_002.pycls_in1k"] = {"pytorch_model.bin": (tmp_path / "evil.bin").read_bytes()}
    with pytest.raises(ModelError, match="cannot be used: a pickle file that holds more than tensors, which can run"):
        unet.build(2, "tu-regnetx_002", "imagenet")


@pytest.mark.parametrize(
    ("config", "mean", "std"),
    [
        ({"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)),
        ({"mean": [127.5] * 3, "std": [51.0] * 3, "input_range": [0, 255]}, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)),
    ],
)
def test_a_set_of_smp_brings_its_own_normalisation(hub: Hub, config: dict, mean: tuple, std: tuple) -> None:
    publish(hub, "mobilenet_v2", **config)
    found = normalisation.of("mobilenet_v2", "imagenet")
    assert (found.mean, found.std) == (pytest.approx(mean), pytest.approx(std))
    assert loaded(unet.build(2, "mobilenet_v2", "imagenet")) == "encoder weights: imagenet of mobilenet_v2"


def test_a_set_for_blue_first_is_refused(hub: Hub) -> None:
    publish(hub, "mobilenet_v2", mean=[0.5] * 3, std=[0.5] * 3, input_space="BGR")
    with pytest.raises(ModelError, match="expected weights for RGB images, found 'BGR'"):
        normalisation.of("mobilenet_v2", "imagenet")


def publish(hub: Hub, name: str, **config: Any) -> None:  # noqa: ANN401
    """Put random weights of an encoder of segmentation-models-pytorch on the hub, and what is said of them."""
    state = smp.encoders.get_encoder(name, weights=None).state_dict()
    repo = smp.encoders.encoders[name]["pretrained_settings"]["imagenet"]["repo_id"]
    hub.repositories[repo] = {"model.safetensors": save(state), "config.json": json.dumps(config).encode()}
