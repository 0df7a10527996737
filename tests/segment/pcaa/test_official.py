"""Checkpoints under the authors' names: a network that was saved so is the one that is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wildseg.core.errors import ModelError
from wildseg.encoders.cnn.build import loaded
from wildseg.methods.architectures import pcaa

ENCODER = "tu-resnet50c"
OPTIONS = {"channels": 8, "bins": [2]}
# By hand, from the published list of names: this package's on the left.
NAMES = {
    "encoder.encoder.model.conv1.0.weight": "backbone.stem.0.weight",
    "encoder.encoder.model.conv1.4.running_var": "backbone.stem.4.running_var",
    "encoder.encoder.model.bn1.weight": "backbone.stem.7.weight",
    "decoder.attentions.0.activation.bias": "head.module_list.0.conv_cam.bias",
    "decoder.attentions.0.graph.between_bins.weight": "head.module_list.0.gcn.conv1.weight",
    "decoder.attentions.0.graph.channels.weight": "head.module_list.0.gcn.conv2.weight",
    "decoder.attentions.0.over_bins.weight": "head.module_list.0.fuse.weight",
    "decoder.attentions.0.key.weight": "head.module_list.0.proj_key.weight",
    "decoder.attentions.0.output.1.bias": "head.module_list.0.conv_out.1.bias",
    "decoder.reduce.0.weight": "head.conva.0.weight",
    "decoder.smooth.1.weight": "head.convb.1.weight",
    "decoder.fuse.0.weight": "head.conv_seg.0.weight",
    "decoder.classify.bias": "head.conv_seg.4.bias",
    "auxiliary.0.0.weight": "dsn.0.weight",
    "auxiliary.2.weight": "dsn.4.weight",
}
BEGINNINGS = (
    ("encoder.encoder.model.conv1", "backbone.stem"),
    ("encoder.encoder.model.bn1", "backbone.stem.7"),
    ("encoder.encoder.model", "backbone"),
    ("decoder.reduce", "head.conva"),
    ("decoder.smooth", "head.convb"),
    ("decoder.fuse", "head.conv_seg"),
    ("decoder.classify", "head.conv_seg.4"),
    ("auxiliary.0", "dsn"),
    ("auxiliary.2", "dsn.4"),
    ("decoder.attentions.0.activation", "head.module_list.0.conv_cam"),
    ("decoder.attentions.0.graph.between_bins", "head.module_list.0.gcn.conv1"),
    ("decoder.attentions.0.graph.channels", "head.module_list.0.gcn.conv2"),
    ("decoder.attentions.0.over_bins", "head.module_list.0.fuse"),
    ("decoder.attentions.0.output", "head.module_list.0.conv_out"),
    *((f"decoder.attentions.0.{part}", f"head.module_list.0.proj_{part}") for part in ("query", "key", "value")),
)


def build(num_classes: int = 3, weights: Path | None = None, **changes: object) -> torch.nn.Module:
    torch.manual_seed(len(changes) + (weights is not None))
    return pcaa.build(num_classes, ENCODER, str(weights) if weights else None, **{**OPTIONS, **changes})


def theirs(name: str) -> str:
    own, official = next(pair for pair in BEGINNINGS if name.startswith(f"{pair[0]}."))
    return f"{official}{name.removeprefix(own)}"


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return build()


@pytest.fixture(scope="module")
def checkpoint(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("official") / "pcaa.safetensors"
    save_file({f"module.{theirs(name)}": value for name, value in network.state_dict().items()}, path)
    return path


def test_the_names_of_this_test_are_those_that_were_published() -> None:
    assert {name: theirs(name) for name in NAMES} == NAMES


def test_every_tensor_of_a_checkpoint_is_loaded(network: torch.nn.Module, checkpoint: Path) -> None:
    found = build(weights=checkpoint)
    state = network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in found.state_dict().items())
    assert loaded(found) == f"weights of PCAA: {len(state)} of {len(state)} tensors from pcaa.safetensors"


def test_layers_of_other_classes_stay_as_they_are(network: torch.nn.Module, checkpoint: Path) -> None:
    found = build(5, checkpoint)
    state = network.state_dict()
    assert torch.equal(found.decoder.fuse[0].weight, state["decoder.fuse.0.weight"])
    assert found.decoder.classify.weight.shape[0] == 6
    assert "left out, of other classes: " in loaded(found)
    assert "decoder.classify.weight" in loaded(found)


@pytest.mark.parametrize(
    ("changes", "line"),
    [({"bins": [3]}, r"set train.options.pcaa.bins and channels"), ({"bins": [2, 2]}, "tensors missing or of another")],
)
def test_a_checkpoint_of_other_bins_is_told(checkpoint: Path, changes: dict[str, object], line: str) -> None:
    with pytest.raises(ModelError, match=rf"^train.encoder_weights: .*pcaa.safetensors: .*{line}"):
        build(weights=checkpoint, **changes)


def test_a_backbone_with_another_stem_is_told(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="does not fit this train.encoder"):
        pcaa.build(3, "resnet18", str(checkpoint), **OPTIONS)
