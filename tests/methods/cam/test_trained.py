"""What all methods that train a network have in common: precision, one class, ResNet-38, and how views are averaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.cam.networks import rendered
from tests.encoders.models import noise, random_clip
from wildseg.cam.networks import fit
from wildseg.cam.networks.data import LabelledImages
from wildseg.cam.networks.engine import network_maps
from wildseg.cam.networks.objective import MapObjective, NetworkContext
from wildseg.core import lookup
from wildseg.core.errors import ModelError, ParamsError
from wildseg.encoders.clip import Clip
from wildseg.encoders.cnn import resnet38
from wildseg.encoders.cnn.resnet38 import ResNet38
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.context import TrainContext
from wildseg.training.trainer import Trainer

NAMES = ("lawn", "road", "sky")
LABELS = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]], bool)
COMMON = {"encoder": "tu-test_resnet", "stride": 16, "crop": 32, "size": (32, 48), "batch_size": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "classifier": {"epochs": 2.5},
    "clims": {"epochs": 1, "baseline_epochs": 1, "background": ["curb"]},
    "l2g": {"epochs": 2.5, "patch": 32, "patches": 4},
    "ccam": {"epochs": 1, "causal_epochs": 1, "prior_size": 8},
}  # four steps, in one phase or in two
METHODS = sorted(OPTIONS)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("clip"), "tiny")


@pytest.fixture(autouse=True)
def small_resnet38(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-38 of 1/32 of its channels."""
    create = resnet38.create
    monkeypatch.setattr(resnet38, "create", lambda *given: create(*given, base=2))


def built(
    method: str, clip: Clip | None = None, precision: str = "fp32", labels: np.ndarray = LABELS,
    root: Path = Path(), **options: object,
) -> MapObjective:  # fmt: skip
    """A method's objective of the tiny frames; `options` of its own over those above."""
    names = NAMES[: labels.shape[1]]

    def load() -> Clip:
        assert clip is not None
        return clip

    context = NetworkContext(
        names, tuple((name,) for name in names), labels, TrainContext(precision=precision), load,
        lambda name, key: lookup.load("methods.cam", name, key), root,
    )  # fmt: skip
    torch.manual_seed(0)
    chosen = {**COMMON, **OPTIONS[method], **options}
    return lookup.load("methods.cam", method, "cam.method").build(context, **chosen)


def images(labels: np.ndarray = LABELS) -> LabelledImages:
    return LabelledImages([str(n) for n in range(len(labels))], labels, lambda name: noise((32, 48), int(name)))


def train(
    objective: MapObjective,
    precision: str = "fp32",
    labels: np.ndarray = LABELS,
    folder: Path | None = None,
    stop: int = 0,
) -> list[fit.Progress]:
    """Train, from checkpoints in a folder and with one after each step; `stop` ends it there."""

    def restore(phase: int, trainer: Trainer) -> bool:
        return folder is not None and Checkpoints(folder, f"run-{phase}").restore(trainer)

    done = []
    for progress in fit.train(objective, images(labels), TrainContext(precision=precision), rendered.cam(), restore):
        done.append(progress)
        if folder is not None:
            Checkpoints(folder, f"run-{progress.phase}").save(progress.trainer)
        if progress.step == stop:
            break
    return done


def saved(objective: MapObjective) -> dict[str, Tensor]:
    """All tensors that maps need."""
    return {
        f"{name}.{key}": value
        for name in objective.saved
        for key, value in objective.networks[name].state_dict().items()
    }


# Precision -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_training_in_half_precision_goes_on_to_the_same_bytes(
    method: str, precision: str, clip: Clip, tmp_path: Path
) -> None:
    clean = built(method, clip, precision)
    whole = train(clean, precision)
    assert len(whole) == 4
    train(built(method, clip, precision), precision, folder=tmp_path, stop=3)
    torch.manual_seed(99)
    again = built(method, clip, precision)
    rest = train(again, precision, folder=tmp_path)
    assert [progress.step for progress in rest] == [progress.step for progress in whole[3:]]
    expected = saved(clean)
    assert all(torch.equal(value, expected[name]) for name, value in saved(again).items())
    assert not {value.dtype for value in expected.values()} & {torch.float16, torch.bfloat16}
    scaler = whole[-1].trainer.state()[1]["scaler"]
    assert bool(scaler) == (precision == "fp16")
    assert rest[-1].trainer.state()[1]["scaler"] == scaler


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_near_single_precision_and_not_the_same(method: str, clip: Clip) -> None:
    losses = {
        precision: train(built(method, clip, precision), precision)[0].event.loss for precision in ("fp32", "bf16")
    }
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]


# One class -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positive", ["some", "all", "none"])
@pytest.mark.parametrize("method", METHODS)
def test_one_class_is_trained_and_has_maps(method: str, positive: str, clip: Clip) -> None:
    labels = {"some": LABELS[:, :1], "all": LABELS[:, :1] | True, "none": LABELS[:, :1] & False}[positive]
    tested = built(method, clip, labels=labels)
    assert all(np.isfinite(progress.event.loss) for progress in train(tested, labels=labels))
    for network in tested.networks.values():
        network.eval()
    maps = network_maps(tested, noise((32, 48)), [0], rendered.cam(), "cpu")
    assert maps.shape == (1, 2, 3)
    assert ((maps >= 0) & (maps <= 1)).all()


def test_a_reader_that_compares_classes_needs_two() -> None:
    line = (
        r"^cam\.options\.classifier\.map: expected a method without a softmax, .* one class; softmax_gradcam compares"
    )
    with pytest.raises(ParamsError, match=line):
        built("classifier", labels=LABELS[:, :1], map="softmax_gradcam")
    assert built("classifier", map="softmax_gradcam").stretched


# Views ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_views_are_averaged_as_published_and_those_of_training_free_methods_stretched(method: str) -> None:
    tested = built(method)
    assert tested.stretched == (method == "classifier")
    assert tested.first is None or not tested.first.stretched


# ResNet-38 -----------------------------------------------------------------------------------------------------------

WIDE = {"encoder": "resnet38", "stride": 8}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_resnet38_with_its_own_dilation(method: str, clip: Clip) -> None:
    tested = built(method, clip, **WIDE)
    train(tested)
    for network in tested.networks.values():
        network.eval()
    assert network_maps(tested, noise((32, 48)), [0, 2], rendered.cam(), "cpu").shape == (2, 4, 6)
    trunks = [network.backbone for network in tested.networks.values() if hasattr(network, "backbone")]
    assert trunks
    assert all(isinstance(trunk, ResNet38) for trunk in trunks)
    assert all(trunk.b6.conv_branch2b1.dilation == (4, 4) for trunk in trunks)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("method", METHODS)
def test_weights_of_resnet38_come_from_the_project(method: str, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(7)
    state = ResNet38(base=2).state_dict()
    path = tmp_path / f"resnet38{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    tested = built(method, root=tmp_path, encoder_weights=path.name, **WIDE)
    first = tested.first.networks["network"] if tested.first else next(iter(tested.networks.values()))
    assert torch.equal(first.backbone.b7.conv_branch2a.weight, state["b7.conv_branch2a.weight"])


@pytest.mark.parametrize("method", METHODS)
def test_another_stride_or_weights_of_another_network_are_one_line(method: str, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=rf"^cam\.options\.{method}\.encoder: resnet38 has an output stride of 8, found 16"
    ):
        built(method, **{**WIDE, "stride": 16})
    torch.manual_seed(7)
    other = built("classifier").networks["network"].backbone.encoder.state_dict()
    save_file({name: value.contiguous() for name, value in other.items()}, tmp_path / "w.safetensors")
    for encoder, stride in (("resnet38", 8), ("tu-test_efficientnet", 16)):
        with pytest.raises(ModelError, match=rf"w\.safetensors does not fit {encoder}") as raised:
            built(method, root=tmp_path, encoder=encoder, stride=stride, encoder_weights="w.safetensors")
        assert "\n" not in str(raised.value)


# Checkpoints ---------------------------------------------------------------------------------------------------------

MAIN = {"ccam": "network", "clims": "network", "l2g": "global"}  # of the network that `checkpoint` is of


def checkpoint(method: str, folder: Path, **changes: Any) -> str:  # noqa: ANN401
    """Write the network of a method to a file; return its name."""
    source = built(method, **changes)
    network = (source.first if method == "ccam" else source).networks[MAIN[method]]
    save_file({name: value.clone() for name, value in network.state_dict().items()}, folder / "c.safetensors")
    return "c.safetensors"


@pytest.mark.parametrize("method", MAIN)
def test_a_checkpoint_of_other_classes_serves_where_it_is_trained_on(method: str, tmp_path: Path) -> None:
    file = checkpoint(method, tmp_path, labels=LABELS[:, :2])
    built(method, root=tmp_path, checkpoint=file)
    line = rf"^cam\.options\.{method}\.checkpoint: .*: expected a checkpoint of 3 classes, .*; found one of 2\. Where"
    with pytest.raises(ModelError, match=line):
        built(method, root=tmp_path, checkpoint=file, epochs=0)


@pytest.mark.parametrize("method", MAIN)
def test_a_checkpoint_of_another_architecture_is_one_line(method: str, tmp_path: Path) -> None:
    file = checkpoint(method, tmp_path)
    built(method, root=tmp_path, checkpoint=file)
    lines = [rf"^cam\.options\.{method}\.checkpoint: .*{file}"]
    if method != "l2g":  # the authors' names are those of a ResNet-50
        head = torch.zeros(3, 128, 1, 1)
        save_file(
            {"resnet50.conv1.weight": torch.zeros(64, 3, 7, 7), "classifier.weight": head}, tmp_path / "a.safetensors"
        )
        lines.append("expected a checkpoint of the chosen encoder, found one of a ResNet-50")
    for line, name in zip(lines, (file, "a.safetensors"), strict=False):
        with pytest.raises(ModelError, match=line) as raised:
            built(method, root=tmp_path, checkpoint=name, **WIDE)
        assert "\n" not in str(raised.value)
