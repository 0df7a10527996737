"""The options of C-CAM: the published values, what each chain builds, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wildseg.cam.networks.causal import CausalNet
from wildseg.cam.networks.causal_objective import NAME, PCAM, PRIOR, CausalObjective
from wildseg.cam.networks.classifier import ClassifierNet, ClassifierObjective
from wildseg.cam.networks.objective import MapObjective, NetworkContext
from wildseg.core import lookup
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.encoders.cnn.build import loaded
from wildseg.methods.cam.ccam import build
from wildseg.training.context import TrainContext

KEY = "cam.options.ccam"
ORGANS = ("liver", "spleen", "kidney")


def context(root: Path = Path(), frames: int = 32, classes: int = 3) -> NetworkContext:
    labels, names = np.ones((frames, classes), bool), ORGANS[:classes]
    unused = lambda *_: pytest.fail("not needed while it is built")  # noqa: E731
    return NetworkContext(names, tuple((name,) for name in names), labels, TrainContext(), unused, unused, root)


def built(root: Path = Path(), frames: int = 32, classes: int = 3, **options: Any) -> MapObjective:  # noqa: ANN401
    torch.manual_seed(0)
    small = {"encoder": "tu-test_resnet", "prior_size": 16}
    return build(context(root, frames, classes), **{**small, **options})


def causal(run: MapObjective) -> CausalNet:
    network = run.networks[NAME]
    assert isinstance(network, CausalNet)
    return network


def test_the_defaults_are_what_was_published() -> None:
    run = built(prior_size=512)
    assert isinstance(run, CausalObjective)
    first = run.first
    assert isinstance(first, ClassifierObjective)
    assert (first.optim.steps, first.optim.lr) == (20, 0.01)
    assert (run.optim.steps, run.optim.lr) == (30, 0.001)
    assert (first.optim.lr_option, run.optim.lr_option) == ("lr", "causal_lr")
    for optim in (first.optim, run.optim):
        assert (optim.optimizer, optim.schedule, optim.power, optim.warmup) == ("sgd", "poly", 0.9, 0)
        assert (optim.momentum, optim.weight_decay) == (0, 1e-4)
    crops = run.crops
    assert (crops.crop, crops.batch_size, crops.resize, crops.size, crops.flip) == (512, 16, "long", (320, 640), 0.5)
    assert first.crops == crops
    assert {group.lr_scale for group in first.param_groups()} == {1, 10}
    assert {group.lr_scale for group in run.param_groups()} == {1, 10}
    assert causal(run).predictor.query.weight.shape == (1, 512 * 512)
    assert causal(run).classifier.weight.shape == (3, 97, 1, 1)
    assert (run.stride, run.mirrored, run.saved) == (16, False, (PCAM, NAME, PRIOR))
    assert (run._chains.anatomy, run._chains.min_share) == (True, 0)


def test_only_the_last_two_stages_are_trained_and_none_is_dilated() -> None:
    for network in (causal(built()), built(chains="none").networks["network"]):
        trained = {name.split(".")[2] for name, p in network.backbone.named_parameters() if p.requires_grad}
        assert trained == {"layer3", "layer4"}
        dilations = {module.dilation for module in network.modules() if isinstance(module, nn.Conv2d)}
        assert dilations == {(1, 1)}


def test_options_reach_the_network() -> None:
    run = built(embedding=4, prior_size=8, min_share=0.2, threshold=0.45, trained_stages=3, dilated=True, momentum=0.9)
    assert isinstance(run, CausalObjective)
    assert causal(run).predictor.key.weight.shape == (4, 64)
    assert run.networks[PRIOR].probability.shape == (4, 8, 8)
    assert (run._chains.min_share, run._chains.threshold, run.optim.momentum) == (0.2, 0.45, 0.9)
    trained = {name.split(".")[2] for name, p in causal(run).backbone.named_parameters() if p.requires_grad}
    assert trained == {"layer2", "layer3", "layer4"}
    assert max(m.dilation for m in causal(run).modules() if isinstance(m, nn.Conv2d)) == (2, 2)


# Chains --------------------------------------------------------------------------------------------------------------


def test_no_chain_is_pcam() -> None:
    run = built(chains="none")
    assert isinstance(run, ClassifierObjective)
    assert run.first is None
    assert run.mirrored


@pytest.mark.parametrize(
    ("chains", "saved", "steps", "anatomy"),
    [("both", (PCAM, NAME, PRIOR), 30, True), ("category", (PCAM, NAME, PRIOR), 30, False),
     ("anatomy", (PCAM, PRIOR), 0, True)],
)  # fmt: skip
def test_a_chain_trains_and_saves_what_it_needs(chains: str, saved: tuple, steps: int, anatomy: bool) -> None:
    run = built(chains=chains)
    assert isinstance(run, CausalObjective)
    assert (run.saved, run.optim.steps, run._chains.anatomy) == (saved, steps, anatomy)


def test_one_class_needs_no_pcam_for_its_maps() -> None:
    assert built(classes=1).saved == (NAME, PRIOR)
    assert built(classes=1, chains="anatomy").saved == (PCAM, PRIOR)


@pytest.mark.parametrize("chains", ["both", "category", "anatomy", "none"])
@pytest.mark.parametrize("classes", [1, 3])
def test_what_was_saved_gives_the_same_maps_in_a_network_built_without_frames(chains: str, classes: int) -> None:
    run = built(chains=chains, classes=classes)
    if PRIOR in run.networks:
        run.networks[PRIOR].sample(torch.rand(4, classes, 16, 16) < 0.5)
    again = built(frames=0, classes=classes, chains=chains, checkpoint="not read", epochs=0)
    for name in run.saved:
        again.networks[name].load_state_dict(run.networks[name].state_dict())
    pixels = torch.randn(1, 3, 64, 48)
    maps = []
    for objective in (run, again):
        for network in objective.networks.values():
            network.eval()
        maps.append(objective.maps(pixels, range(classes)))
    assert maps[0].shape == (classes, 4, 3)
    assert torch.equal(*maps)


# Checkpoints ---------------------------------------------------------------------------------------------------------


def saved(network: nn.Module, path: Path) -> str:
    save_file({name: value.clone() for name, value in network.state_dict().items()}, path)
    return path.name


def test_pcam_and_the_causal_network_start_from_checkpoints(tmp_path: Path) -> None:
    torch.manual_seed(5)
    source = built()
    assert source.first is not None
    learned, follower = source.first.networks["network"], causal(source)
    files = (saved(learned, tmp_path / "pcam.safetensors"), saved(follower, tmp_path / "causal.safetensors"))
    run = built(tmp_path, checkpoint=files[0], causal_checkpoint=files[1], epochs=0, causal_epochs=0)
    assert run.first is not None
    assert run.optim.steps == run.first.optim.steps == 0
    for mine, theirs in ((run.first.networks["network"], learned), (causal(run), follower)):
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in mine.state_dict().items())
    total = len(learned.state_dict())
    assert loaded(run.first.networks["network"]) == f"{total} of {total} tensors from pcam.safetensors"


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "line"),
    [
        ({"size": (640, 320)}, ParamsError, rf"{KEY}\.size: expected the smaller length first, found \[640, 320\]"),
        ({"crop": 100}, ParamsError, rf"{KEY}\.crop: expected a multiple of the stride, 16, found 100"),
        (
            {"chains": "anatomy", "causal_checkpoint": "x.pth"}, ParamsError,
            rf"{KEY}\.causal_checkpoint: expected chains that have a causal network, both or category; found anatomy",
        ),
        ({"encoder": "tu-nothing"}, ModelError, rf"{KEY}\.encoder: .*tu-nothing"),
        ({"checkpoint": "none.pth"}, DataError, rf"{KEY}\.checkpoint: .*none\.pth"),
        ({"checkpoint": "model.bin2"}, DataError, rf"{KEY}\.checkpoint: expected a \.safetensors or \.pth file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(options: dict[str, Any], error: type[Exception], line: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=line) as raised:
        built(tmp_path, **options)
    assert "\n" not in str(raised.value)


def test_a_pcam_for_the_causal_network_does_not_fit(tmp_path: Path) -> None:
    run = built()
    assert run.first is not None
    file = saved(run.first.networks["network"], tmp_path / "pcam.safetensors")
    with pytest.raises(ModelError, match=rf"^{KEY}\.causal_checkpoint: .*expected a checkpoint of C-CAM"):
        built(tmp_path, causal_checkpoint=file)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"chains": "all"}, "chains"),
        ({"threshold": 1}, "threshold"),
        ({"prior_size": 1}, "prior_size"),
        ({"embedding": 0}, "embedding"),
        ({"lr": 0}, "lr"),
        ({"prior": 3}, r"ccam has no such option; it accepts chains.*did you mean"),
    ],
)
def test_an_option_outside_of_its_limits_is_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        lookup.check_options("methods.cam", "ccam", ("cam", "build"), options, KEY)


def test_classifiers_have_no_backbone_in_common() -> None:
    run = built()
    assert run.first is not None
    networks = [run.first.networks["network"], run.networks[PCAM], run.networks[NAME]]
    assert isinstance(networks[1], ClassifierNet)
    held = [{id(parameter) for parameter in network.parameters()} for network in networks]
    assert not held[0] & held[1]
    assert not held[1] & held[2]
    assert not held[0] & held[2]
