"""The options of CLIMS: the published values of both variants, what is trained, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wildseg.cam.networks.classifier import ClassifierObjective
from wildseg.cam.networks.clims import ClimsObjective, ResidualHead
from wildseg.cam.networks.objective import NetworkContext
from wildseg.core import lookup
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.encoders.cnn.build import loaded
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.methods.cam.clims import OPENAI, build
from wildseg.training.context import TrainContext

CLASSES = {"boat": ("boat",), "train": ("train", "locomotive"), "lawn": ("lawn",)}


def context(root: Path = Path(), frames: int = 32) -> NetworkContext:
    labels = np.ones((frames, len(CLASSES)), bool)
    unused = lambda *_: pytest.fail("not needed while it is built")  # noqa: E731
    return NetworkContext(tuple(CLASSES), tuple(CLASSES.values()), labels, TrainContext(), unused, unused, root)


def built(root: Path = Path(), frames: int = 32, **options: Any) -> ClimsObjective:  # noqa: ANN401
    torch.manual_seed(0)
    return build(context(root, frames), **{"encoder": "tu-test_resnet", **options})


def test_the_improved_variant_is_what_was_published() -> None:
    run = built()
    config = run._config
    assert (config.object_text, config.background_text, config.suppression, config.area) == (10, 24, 1, 0.2)
    assert (config.threshold, config.reduction, config.templates, config.clip_norm) == (
        0.26, "sum", ("a photo of {}.",), "imagenet",
    )  # fmt: skip
    assert (run.optim.steps, run.optim.lr, run.optim.optimizer, run.optim.schedule) == (30, 2.5e-4, "sgd", "poly")
    assert (run.optim.momentum, run.optim.weight_decay, run.optim.power, run.optim.warmup) == (0, 1e-4, 0.9, 0)
    assert run.optim.learning_rate(15) == pytest.approx(2.5e-4 * 0.5**0.9)
    crops = run.crops
    assert (crops.crop, crops.batch_size, crops.resize, crops.size, crops.flip) == (512, 16, "long", (320, 640), 0.5)
    assert (run.stride, run.norm.mean) == (16, Normalisation().mean)
    assert [group.lr_scale for group in run.param_groups()] == [1, 10]
    first = run.first
    assert isinstance(first, ClassifierObjective)
    assert (first.optim.steps, first.optim.lr, first.optim.momentum) == (10, 0.1, 0)
    assert (first.optim.lr_option, run.optim.lr_option) == ("baseline_lr", "lr")


def test_the_camera_ready_variant_is_what_was_published() -> None:
    run = built(variant="camera_ready")
    config = run._config
    assert (config.object_text, config.background_text, config.suppression, config.area) == (10, 25, 29.5, 1.15)
    assert (config.threshold, config.reduction, config.templates, config.clip_norm) == (
        None, "mean", ("a photo of {}",), "clip",
    )  # fmt: skip
    assert run.optim.steps == 20
    assert [group.lr_scale for group in run.param_groups()] == [1, 1]
    assert run.first.param_groups()[-1].lr_scale == 10
    assert run.norm == run.first.norm == OPENAI
    assert (run.first.optim.steps, run.first.optim.lr) == (30, 0.01)
    assert isinstance(run.network.last, ResidualHead)
    assert run.network.classifier.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert all(parameter.ndim == 4 for group in run.param_groups() for parameter in group.params)


def test_the_first_convolution_and_its_normalisation_are_frozen_and_no_other() -> None:
    run = built()
    frozen = {name for name, parameter in run.network.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(".conv1.1." in name or ".conv1." in name or ".bn1." in name for name in frozen)
    assert not any("layer" in name for name in frozen)
    first = {name for name, parameter in run.first.network.named_parameters() if not parameter.requires_grad}
    assert not first  # the classifier is trained as a whole


def test_training_leaves_the_frozen_parameters_and_updates_statistics() -> None:
    run = built()
    run.train_mode()
    assert run.network.training
    assert all(module.training for module in run.network.modules())


def test_kernels_are_dilated_only_where_that_is_wanted() -> None:
    def dilations(**options: bool) -> set[tuple[int, ...]]:
        run = built(stride=8, **options)
        convolutions = [m for net in (run.network, run.first.network) for m in net.modules() if hasattr(m, "dilation")]
        return {tuple(module.dilation) for module in convolutions if isinstance(module, torch.nn.Conv2d)}

    assert dilations() == {(1, 1)}
    assert dilations(dilated=True) == {(1, 1), (2, 2), (4, 4)}


def test_options_take_the_place_of_published_values() -> None:
    run = built(
        loss_weights=[2, 14, 1.25, 0.2], threshold=0.285, epochs=8, lr=5e-4, clip_norm="clip", momentum=0.9,
        templates=["{}", "a view of {}"], baseline_epochs=0, crop=64, size=[64, 96], batch_size=8, flip=0, head_lr=3,
    )  # fmt: skip
    assert run.first is None
    assert run.optim.steps == 32
    assert (run._config.background_text, run._config.threshold, run._config.clip_norm) == (14, 0.285, "clip")
    assert run._config.templates == ("{}", "a view of {}")
    assert (run.crops.crop, run.crops.size, run.crops.flip) == (64, (64, 96), 0)
    assert [group.lr_scale for group in run.param_groups()] == [1, 3]


def test_phrases_are_proposed_for_all_classes_or_for_each_its_own() -> None:
    shared, apart = built().background, built(variant="camera_ready").background
    assert shared.phrases == apart.phrases
    assert {"river", "railway"} <= set(shared.phrases)
    assert shared.related.all()
    assert apart.related[:, apart.phrases.index("railway")].tolist() == [False, True, False]
    given = built(background={"boat": ["harbour"]}).background
    assert (given.phrases, given.related.tolist()) == (("harbour",), [[True], [False], [False]])


def test_a_checkpoint_takes_the_place_of_the_baseline(tmp_path: Path) -> None:
    state = {name: torch.full_like(value, 0.25) for name, value in built().network.state_dict().items()}
    save_file(state, tmp_path / "clims.safetensors")
    run = built(tmp_path, checkpoint="clims.safetensors", epochs=0)
    assert run.first is None
    assert run.optim.steps == 0
    assert (run.network.classifier.weight == 0.25).all()
    assert loaded(run.network) == f"{len(state)} tensors from clims.safetensors"
    assert run.maps(torch.zeros(1, 3, 32, 48), [2, 0]).shape == (2, 2, 3)


def test_a_checkpoint_of_other_classes_serves_where_a_head_is_trained(tmp_path: Path) -> None:
    state = built().network.state_dict()
    state["classifier.weight"] = torch.ones(20, *state["classifier.weight"].shape[1:])
    save_file(state, tmp_path / "voc.safetensors")
    for frames in (32, 0):  # to train, and for the maps afterwards
        run = built(tmp_path, frames, checkpoint="voc.safetensors")
        assert loaded(run.network).endswith("; left out: classifier.weight")
    with pytest.raises(
        ModelError,
        match=r"^cam\.options\.clims\.checkpoint: .*: expected a checkpoint of 3 classes, .*; found one of 20",
    ):
        built(tmp_path, checkpoint="voc.safetensors", epochs=0)


def test_for_maps_alone_nothing_is_trained_before() -> None:
    run = built(frames=0)
    assert run.first is None
    assert run.optim.steps == 0


@pytest.mark.parametrize(
    ("options", "kind", "line"),
    [
        (
            {"background": {"tram": ["rails"]}},
            ParamsError,
            "background: expected names of classes, found 'tram', which",
        ),
        ({"background": {"boat": ["boats"]}}, ParamsError, "background.boat: expected phrases of background, found"),
        ({"background": [""]}, ParamsError, "background: expected a list of phrases"),
        ({"templates": ["a photo"]}, ParamsError, "templates: expected {} where the class goes, found 'a photo'"),
        ({"size": [640, 320]}, ParamsError, "size: expected the smaller length first, found [640, 320]"),
        ({"crop": 500}, ParamsError, "crop: expected a multiple of the stride, 16, found 500"),
        ({"epochs": 0, "baseline_epochs": 0}, ParamsError, "epochs: expected more than 0 without a checkpoint and a"),
        ({"checkpoint": "none.pth"}, DataError, "checkpoint: "),
        ({"encoder": "tu-resnet5000"}, ModelError, "encoder: "),
    ],
)
def test_a_mistake_is_one_line(options: dict[str, Any], kind: type[Exception], line: str, tmp_path: Path) -> None:
    with pytest.raises(kind) as raised:
        built(tmp_path, **options)
    assert str(raised.value).startswith(f"cam.options.clims.{line}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"variant": "improvd"}, "variant: expected one of improved, camera_ready; found 'improvd'"),
        (
            {"background": "autos"},
            "background: expected 'auto' or a list or a mapping; found 'autos'; did you mean 'auto'",
        ),
        ({"background": {"boat": "water"}}, "background.boat: expected a list, found 'water'"),
        ({"loss_weights": [1, 2, 3]}, "loss_weights: expected a list of 4 entries, found [1, 2, 3]"),
        ({"loss_weights": [1, 2, 3, -4]}, "loss_weights[3]: expected a number from 0 to 1000000, found -4"),
        ({"clip_norm": "openai"}, "clip_norm: "),
        ({"threshold": 2}, "threshold: expected a number from -1 to 1, found 2"),
    ],
)
def test_a_mistake_in_a_value_is_found_without_loading_the_method(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError) as raised:
        lookup.check_options("methods.cam", "clims", ("build",), options, "cam.options.clims")
    assert str(raised.value).startswith(f"cam.options.clims.{line}")
