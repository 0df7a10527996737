"""Checkpoints of L2G under the authors' names: what goes where, what matched, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from wildseg.cam.networks import official_l2g
from wildseg.cam.networks.local_to_global import CorrelatedNet
from wildseg.core.errors import DataError, ModelError
from wildseg.encoders.cnn.resnet38 import ResNet38

KEY = "cam.options.l2g.checkpoint"
CLASSES = 3


def network(classes: int = CLASSES, seed: int = 0) -> CorrelatedNet:
    torch.manual_seed(seed)
    trunk = ResNet38(base=2)
    return CorrelatedNet(trunk, trunk.channels, classes)


def official(seed: int, classes: int = CLASSES) -> dict[str, Tensor]:
    """A state as the authors save it: numbers of the seed, their names, the width of `network`."""
    torch.manual_seed(seed)
    state = {f"module.{name}": torch.randn_like(value.float()) for name, value in ResNet38(base=2).state_dict().items()}
    state = {name: value.abs() + 0.5 if name.endswith("var") else value for name, value in state.items()}
    state |= {
        "module.fc8.weight": torch.randn(classes + 1, 128, 1, 1),
        "module.f8_3.weight": torch.randn(2, 16, 1, 1),
        "module.f8_4.weight": torch.randn(4, 32, 1, 1),
        "module.f9.weight": torch.randn(6, 9, 1, 1),
    }
    return {n: torch.tensor(5) if n.endswith("tracked") else v for n, v in state.items()}


def save(path: Path, **entries: object) -> Path:
    torch.save(entries, path)
    return path


def load(path: Path, classes: int = CLASSES, other_classes: bool = False) -> tuple[list[CorrelatedNet], str]:
    networks = [network(classes), network(classes, seed=1)]
    return networks, str(official_l2g.load(networks, path, KEY, other_classes))


def holds(found: CorrelatedNet, wanted: dict[str, Tensor]) -> bool:
    state = found.state_dict()
    pairs = {
        "head.weight": "fc8.weight",
        "correlation.reduce.0.weight": "f8_3.weight",
        "correlation.reduce.1.weight": "f8_4.weight",
        "correlation.mix.weight": "f9.weight",
        "backbone.conv1a.weight": "conv1a.weight",
        "backbone.b6.bn_branch2b2.running_var": "b6.bn_branch2b2.running_var",
        "backbone.bn7.bias": "bn7.bias",
    }
    return all(torch.equal(state[own], wanted[f"module.{name}"]) for own, name in pairs.items())


def test_each_of_the_authors_names_is_one_of_a_network_of_published_size() -> None:
    with torch.device("meta"):
        trunk = ResNet38()
        own = CorrelatedNet(trunk, trunk.channels, 20).state_dict()
    names = [name.removeprefix("backbone.") for name in own if name.startswith("backbone.")]
    names += ["fc8.weight", "f8_3.weight", "f8_4.weight", "f9.weight"]
    assert {official_l2g.own_name(f"module.{name}") for name in names} == set(own)
    assert own["head.weight"].shape == (21, 4096, 1, 1)
    assert own["correlation.mix.weight"].shape == (192, 195, 1, 1)


def test_both_networks_of_the_authors_dict_are_loaded(tmp_path: Path) -> None:
    whole, local = official(seed=1), official(seed=2)
    path = save(tmp_path / "l2g.pth", epoch=9, global_counter=100, state_dict=whole, local_dict=local, optimizer={})
    networks, said = load(path)
    assert holds(networks[0], whole)
    assert holds(networks[1], local)
    assert said == f"{len(whole)} of {len(whole)} tensors"


def test_a_file_of_one_network_is_loaded_into_both(tmp_path: Path) -> None:
    state = official(seed=1)
    save_file(state, tmp_path / "l2g.safetensors")
    for path in (tmp_path / "l2g.safetensors", save(tmp_path / "l2g.pth", state_dict=state)):
        networks, _ = load(path)
        assert holds(networks[0], state)
        assert holds(networks[1], state)


def test_a_network_of_this_package_is_loaded_by_its_own_names(tmp_path: Path) -> None:
    wanted = network(seed=7).state_dict()
    save_file(wanted, tmp_path / "w.safetensors")
    networks, said = load(tmp_path / "w.safetensors")
    assert all(torch.equal(networks[0].state_dict()[name], value) for name, value in wanted.items())
    assert said == f"{len(wanted)} of {len(wanted)} tensors"


def test_what_no_network_has_is_left_out_and_named(tmp_path: Path) -> None:
    state = official(seed=1) | {"module.extra.weight": torch.zeros(3)}
    networks, said = load(save(tmp_path / "l2g.pth", state_dict=state))
    assert said == f"{len(state) - 1} of {len(state) - 1} tensors; left out: module.extra.weight"
    assert holds(networks[0], state)


def test_counters_of_batches_may_be_missing(tmp_path: Path) -> None:
    state = {name: value for name, value in official(seed=1).items() if not name.endswith("tracked")}
    networks, said = load(save(tmp_path / "l2g.pth", state_dict=state))
    assert holds(networks[0], state)
    assert said == f"{len(state)} of {len(networks[0].state_dict())} tensors"


def test_a_head_of_other_classes_is_left_out_where_training_follows_and_refused_else(tmp_path: Path) -> None:
    state = official(seed=1)
    path = save(tmp_path / "l2g.pth", state_dict=state)
    before = network(classes=5).head.weight.detach()
    networks, said = load(path, classes=5, other_classes=True)
    assert torch.equal(networks[0].head.weight, before)
    assert torch.equal(networks[0].backbone.conv1a.weight, state["module.conv1a.weight"])
    assert said.endswith("left out: module.fc8.weight")
    line = rf"^{KEY}: .*: expected a checkpoint of 5 classes, as many as params.yaml has; found one of 3\. Where"
    with pytest.raises(ModelError, match=line):
        load(path, classes=5)


def test_missing_tensors_and_another_architecture_are_one_line(tmp_path: Path) -> None:
    state = official(seed=1)
    del state["module.b4_2.conv_branch2a.weight"]
    line = rf"^{KEY}: \S*l2g.pth does not fit this network: 1 of \d+ tensors missing, such as backbone.b4_2"
    with pytest.raises(ModelError, match=line):
        load(save(tmp_path / "l2g.pth", state_dict=state))
    with pytest.raises(ModelError, match="tensors missing, such as backbone.conv1a.weight"):
        load(save(tmp_path / "other.pth", state_dict={"conv1.weight": torch.zeros(3)}))


def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "l2g.pth").write_bytes(b"nothing")
    with pytest.raises(DataError, match=rf"^{KEY}: \S*l2g.pth: expected weights as safetensors or plain torch tensors"):
        load(tmp_path / "l2g.pth")
