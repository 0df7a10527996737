"""The authors' checkpoints of C-CAM, made here with their names: what matches, what is left out, what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from wildseg.cam.networks.causal import CausalNet
from wildseg.cam.networks.classifier import ClassifierNet
from wildseg.cam.networks.official_ccam import fit, load_checkpoint
from wildseg.core.errors import DataError, ModelError
from wildseg.encoders.cnn import backbone
from wildseg.encoders.cnn.backbone import Backbone

KEY = "cam.options.ccam.checkpoint"
SIDE = 4
COPIES = ("stage1", "stage2", "stage3", "stage4", "backbone", "newly_added")


@pytest.fixture(scope="module")
def trunk() -> Backbone:
    """A ResNet with bottlenecks, whose tensors have the names of the authors' ResNet-50."""
    torch.manual_seed(0)
    return backbone.create("tu-resnet26", None, 16, "cam.options.ccam.encoder")


def pcam(trunk: Backbone, classes: int = 1) -> ClassifierNet:
    return ClassifierNet(trunk, trunk.channels[-1], classes)


def causal(trunk: Backbone, classes: int = 1) -> CausalNet:
    return CausalNet(trunk, trunk.channels[-1], classes, SIDE)


def authors(trunk: Backbone, causal: bool, classes: int = 1) -> dict[str, Tensor]:
    """Return a state as the authors save it: the backbone three times, the head twice, the predictor."""
    plain = {
        name.removeprefix("model."): torch.full(value.shape, float(number))
        for number, (name, value) in enumerate(trunk.encoder.state_dict().items())
    }
    stages = {"conv1": "stage1.0", "bn1": "stage1.1", "layer1": "stage1.4"}
    stages |= {f"layer{number}": f"stage{number}.0" for number in (2, 3, 4)}
    again = {f"{stages[name.split('.')[0]]}.{name.split('.', 1)[1]}": value for name, value in plain.items()}
    parts = {f"backbone.{int(name[5]) - 1}{name[6:]}": value for name, value in again.items()}
    head = torch.full((classes, trunk.channels[-1] + causal, 1, 1), 0.5)
    state = {f"resnet50.{name}": value for name, value in plain.items()} | again
    if causal:
        for number, layer in enumerate(("Wy", "Wz")):
            state[f"causal_predictor.{layer}.weight"] = torch.full((1, SIDE * SIDE), 0.1 + number)
            state[f"causal_predictor.{layer}.bias"] = torch.full((1,), 0.2 + number)
        state["causal_predictor.causal_score.weight"] = torch.zeros(2, 2 * SIDE * SIDE)
        state["causal_predictor.causal_score.bias"] = torch.zeros(2)
    return {**state, "classifier.weight": head, **parts, "newly_added.0.weight": head}


def test_pcam_matches_in_every_tensor_and_leaves_its_copies_out(trunk: Backbone) -> None:
    net, state = pcam(trunk), authors(trunk, causal=False)
    found = fit(net, state, "", new_head=False)
    assert found.state.keys() == net.state_dict().keys()
    assert found.left_out == COPIES
    for name, value in state.items():
        if name.startswith("resnet50."):
            own = name.replace("resnet50.", "backbone.encoder.model.")
            assert torch.equal(found.state[own], value), name
    total = len(net.state_dict())
    assert str(found) == f"{total} of {total} tensors; left out: {', '.join(COPIES)}"


def test_the_causal_network_matches_but_for_a_score_that_nothing_uses(trunk: Backbone) -> None:
    net, state = causal(trunk), authors(trunk, causal=True)
    found = fit(net, state, "", new_head=False)
    assert found.state.keys() == net.state_dict().keys()
    assert set(found.left_out) == {*COPIES, "causal_predictor.causal_score"}
    assert torch.equal(found.state["predictor.query.weight"], state["causal_predictor.Wy.weight"])
    assert torch.equal(found.state["predictor.key.bias"], state["causal_predictor.Wz.bias"])
    assert found.state["classifier.weight"].shape == (1, trunk.channels[-1] + 1, 1, 1)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("whose", ["authors", "own"])
def test_a_file_is_loaded_whatever_wrote_it(suffix: str, whose: str, trunk: Backbone, tmp_path: Path) -> None:
    net = causal(trunk)
    own = {name: torch.full(value.shape, 2.0) for name, value in net.state_dict().items()}
    state = authors(trunk, causal=True) if whose == "authors" else own
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file({name: value.clone() for name, value in state.items()}, path)
    found = load_checkpoint(net, path, KEY, new_head=False)
    assert len(found.state) == len(net.state_dict())
    for name, value in net.state_dict().items():
        assert torch.equal(value, found.state[name].to(value.dtype)), name


def test_normalisations_may_lack_their_counters(trunk: Backbone) -> None:
    state = authors(trunk, causal=False)
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert "backbone.encoder.model.bn1.running_mean" in fit(pcam(trunk), state, "", new_head=False).state


def test_a_head_of_other_classes_is_left_out_where_it_is_trained_anew(trunk: Backbone) -> None:
    net, state = causal(trunk, 3), authors(trunk, causal=True)
    found = fit(net, state, "", new_head=True)
    assert found.left_out[-1] == "classifier.weight"
    assert "classifier.weight" not in found.state
    with pytest.raises(ModelError, match=rf"^{KEY}: expected a checkpoint of 3 classes, .*; found one of 1\."):
        fit(net, state, KEY, new_head=False)


def without(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda state: [state.pop(key) for key in list(state) if name in key] and None


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (without("resnet50.layer2.0.conv1"), r"1 of \d+ tensors missing, such as layer2\.0\.conv1\.weight"),
        (without("Wy"), r"2 of \d+ tensors missing, such as predictor\.query\.weight"),
        (without("classifier"), r"expected a checkpoint of C-CAM, with tensors resnet50\.\* and classifier\.weight"),
        (without("resnet50"), r"expected a checkpoint of C-CAM, .* found stage1\.0\.weight and \d+ others"),
        (lambda state: state.update(decoder=torch.zeros(1)), "1 tensors of another architecture, such as decoder"),
        (
            lambda state: state.update({"causal_predictor.Wz.weight": torch.zeros(1, 9)}),
            r"1 of another shape, such as predictor\.key\.weight is \(1, 9\) instead of \(1, 16\)",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(change: Callable[[dict[str, Tensor]], None], line: str, trunk: Backbone) -> None:
    state = authors(trunk, causal=True)
    change(state)
    with pytest.raises(ModelError, match=rf"^{KEY}: weights\.pth.*: {line}") as raised:
        fit(causal(trunk), state, f"{KEY}: weights.pth", new_head=False)
    assert "\n" not in str(raised.value)


def test_a_checkpoint_of_the_other_network_does_not_fit(trunk: Backbone) -> None:
    with pytest.raises(ModelError, match=r"4 that this network does not have, such as predictor\.query\.weight"):
        fit(pcam(trunk), authors(trunk, causal=True), KEY, new_head=False)
    with pytest.raises(ModelError, match=r"4 of \d+ tensors missing, such as predictor\.query\.weight"):
        fit(causal(trunk), authors(trunk, causal=False), KEY, new_head=False)


def test_a_file_that_could_run_code_is_refused(tmp_path: Path, trunk: Backbone) -> None:
    path = tmp_path / "weights.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(DataError, match=rf"^{KEY}: .*weights\.pth: expected weights as safetensors or plain torch"):
        load_checkpoint(pcam(trunk), path, KEY, new_head=False)
