"""The authors' checkpoints of CLIMS, made here with their names: what matches, what is left out, what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wildseg.cam.networks.classifier import ClassifierNet
from wildseg.cam.networks.clims import ResidualHead
from wildseg.cam.networks.official_clims import fit, load_checkpoint
from wildseg.core.errors import DataError, ModelError
from wildseg.encoders.cnn import backbone
from wildseg.encoders.cnn.backbone import Backbone

KEY = "cam.options.clims.checkpoint"
CLASSES = 6


@pytest.fixture(scope="module")
def trunk() -> Backbone:
    """A ResNet with bottlenecks, whose tensors have the names of the authors' ResNet-50."""
    torch.manual_seed(0)
    return backbone.create("tu-resnet26", None, 16, "cam.options.clims.encoder")


def network(trunk: Backbone, new_head: bool = False, classes: int = CLASSES) -> ClassifierNet:
    net = ClassifierNet(trunk, trunk.channels[-1], classes)
    if new_head:
        net.register_module("last", ResidualHead(trunk.channels[-1]))
    return net


def numbered(shapes: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of these shapes, each with a value of its own."""
    return {name: torch.full(value.shape, float(number)) for number, (name, value) in enumerate(shapes.items())}


def resnet(trunk: Backbone) -> dict[str, Tensor]:
    """Return a state of the encoder under torchvision's names, which are the authors'."""
    return numbered({name.removeprefix("model."): value for name, value in trunk.encoder.state_dict().items()})


def improved(trunk: Backbone, classes: int = CLASSES) -> dict[str, Tensor]:
    """Return a state as the improved variant is saved: its backbone three times, its head twice."""
    plain = resnet(trunk)
    stages = {"conv1": "stage1.0", "bn1": "stage1.1", "layer1": "stage1.4"}
    stages |= {f"layer{number}": f"stage{number}.0" for number in (2, 3, 4)}
    again = {f"{stages[name.split('.')[0]]}.{name.split('.', 1)[1]}": value for name, value in plain.items()}
    parts = {f"backbone.{int(name[5]) - 1}{name[6:]}": value for name, value in again.items()}
    head = torch.full((classes, trunk.channels[-1], 1, 1), 0.5)
    return {
        **{f"resnet50.{name}": value for name, value in plain.items()}, **again,
        "classifier.weight": head, **parts, "newly_added.0.weight": head,
    }  # fmt: skip


def camera_ready(trunk: Backbone, classes: int = CLASSES) -> dict[str, Tensor]:
    """Return a state as the camera-ready variant is saved: the backbone's parts by themselves, then its head."""
    head = {
        f"cam_head.0.{name}": value for name, value in numbered(ResidualHead(trunk.channels[-1]).state_dict()).items()
    }
    last = torch.arange(classes + 1.0)[:, None, None, None].expand(-1, trunk.channels[-1], 1, 1).clone()
    return {**resnet(trunk), **head, "cam_head.1.weight": last}


def test_the_improved_variant_matches_in_every_tensor_and_leaves_its_copies_out(trunk: Backbone) -> None:
    net, state = network(trunk), improved(trunk)
    found = fit(net, state, "", other_classes=False)
    assert found.state.keys() == net.state_dict().keys()
    assert found.left_out == ("stage1", "stage2", "stage3", "stage4", "backbone", "newly_added")
    assert len(found.state) == len(resnet(trunk)) + 1
    for name, value in resnet(trunk).items():
        assert torch.equal(found.state[f"backbone.encoder.model.{name}"], value), name
    assert torch.equal(found.state["classifier.weight"], state["classifier.weight"])


def test_the_camera_ready_variant_matches_but_for_its_channel_of_background(trunk: Backbone) -> None:
    net, state = network(trunk, new_head=True), camera_ready(trunk)
    found = fit(net, state, "", other_classes=False)
    assert found.state.keys() == net.state_dict().keys()
    assert torch.equal(found.state["last.conv2.weight"], state["cam_head.0.conv2.weight"])
    assert found.state["classifier.weight"][:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("whose", ["authors", "own"])
def test_a_file_is_loaded_whatever_wrote_it(suffix: str, whose: str, trunk: Backbone, tmp_path: Path) -> None:
    net = network(trunk)
    state = improved(trunk) if whose == "authors" else numbered(net.state_dict())
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file({name: value.clone() for name, value in state.items()}, path)
    found = load_checkpoint(net, path, KEY, other_classes=False)
    assert len(found.state) == len(net.state_dict())
    for name, value in net.state_dict().items():
        assert torch.equal(value, found.state[name].to(value.dtype)), name


def test_normalisations_may_lack_their_counters(trunk: Backbone) -> None:
    state = {name: value for name, value in improved(trunk).items() if not name.endswith("num_batches_tracked")}
    assert "backbone.encoder.model.bn1.running_mean" in fit(network(trunk), state, "", other_classes=False).state


def test_a_head_of_other_classes_is_left_out_where_it_is_trained_anew(trunk: Backbone) -> None:
    for state, net, name in (
        (improved(trunk, 20), network(trunk), "classifier.weight"),
        (camera_ready(trunk, 20), network(trunk, new_head=True), "cam_head.1.weight"),
    ):
        found = fit(net, state, "", other_classes=True)
        assert found.left_out[-1] == name
        assert "classifier.weight" not in found.state
        with pytest.raises(ModelError, match=rf"^{KEY}: f: expected a checkpoint of {CLASSES} classes, .* one of 20\."):
            fit(net, state, f"{KEY}: f", other_classes=False)


def without(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda state: [state.pop(key) for key in list(state) if name in key] and None


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (without("resnet50.layer2.0.conv1"), r"1 of \d+ tensors missing, such as layer2\.0\.conv1\.weight"),
        (
            without("classifier"),
            r"expected a checkpoint of CLIMS, with tensors resnet50\.\* and classifier\.weight, or",
        ),
        (without("resnet50"), r"expected a checkpoint of CLIMS, .* found stage1\.0\.weight and \d+ others"),
        (lambda state: state.update(causal=torch.zeros(1)), r"1 tensors of another architecture, such as causal"),
        (
            lambda state: state.update({"resnet50.bn1.bias": torch.zeros(3)}),
            r"1 of another shape, such as bn1\.bias is \(3,\) instead of \(64,\)",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(change: Callable[[dict[str, Tensor]], None], line: str, trunk: Backbone) -> None:
    state = improved(trunk)
    change(state)
    with pytest.raises(ModelError, match=rf"^{KEY}: weights\.pth.*: {line}") as raised:
        fit(network(trunk), state, f"{KEY}: weights.pth", other_classes=False)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_of_the_other_variant_does_not_fit(trunk: Backbone) -> None:
    with pytest.raises(ModelError, match="that this variant does not have, such as last.conv1.weight"):
        fit(network(trunk), camera_ready(trunk), KEY, other_classes=False)
    with pytest.raises(ModelError, match="tensors missing, such as last.conv1.weight"):
        fit(network(trunk, new_head=True), improved(trunk), KEY, other_classes=False)


def test_a_file_that_could_run_code_is_refused(tmp_path: Path, trunk: Backbone) -> None:
    path = tmp_path / "weights.pth"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(
        DataError, match=rf"^{KEY}: .*weights\.pth: expected weights as safetensors or plain torch tens"
    ):
        load_checkpoint(network(trunk), path, KEY, other_classes=False)
    with pytest.raises(DataError, match=rf"^{KEY}: .*none\.pth"):
        load_checkpoint(network(trunk), tmp_path / "none.pth", KEY, other_classes=False)
