"""The options of L2G: what was published, encoders, where saliency comes from, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from wildseg.cam.networks.boundary_connectivity import boundary_saliency
from wildseg.cam.networks.local_to_global import GLOBAL, LOCAL, LocalToGlobalObjective, TransferConfig
from wildseg.cam.networks.objective import NetworkContext
from wildseg.core import lookup
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.encoders.cnn import resnet38
from wildseg.encoders.cnn.build import loaded
from wildseg.encoders.cnn.resnet38 import ResNet38
from wildseg.methods.cam.l2g import build
from wildseg.training.context import TrainContext

CLASSES = ("lawn", "road", "soil")
KEY = "cam.options.l2g"
SMALL = {"encoder": "tu-test_resnet", "crop": 64, "patch": 32, "patches": 4}


@pytest.fixture(autouse=True)
def small_resnet38(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-38 of 1/32 of its channels."""
    create = resnet38.create
    monkeypatch.setattr(resnet38, "create", lambda *given: create(*given, base=2))


def context(root: Path = Path(), frames: int = 30) -> NetworkContext:
    labels = np.ones((frames, len(CLASSES)), bool)
    unused = lambda *_: pytest.fail("L2G needs neither an image-text model nor another method")  # noqa: E731
    phrases = tuple((name,) for name in CLASSES)
    return NetworkContext(CLASSES, phrases, labels, TrainContext(), unused, unused, root)


def built(root: Path = Path(), frames: int = 30, **options: Any) -> LocalToGlobalObjective:  # noqa: ANN401
    torch.manual_seed(0)
    return build(context(root, frames), **{**SMALL, **options})


def trained(tested: LocalToGlobalObjective) -> set[str]:
    return {n for n, parameter in tested.networks[GLOBAL].named_parameters() if parameter.requires_grad}


def test_defaults_are_those_published_for_voc() -> None:
    tested = build(context(), encoder="resnet38")
    assert tested._config == TransferConfig(6, 320, "corners", 10.0, 0.001, "indicator", "relu")
    crops = tested.crops
    assert (crops.crop, crops.batch_size, crops.resize, crops.size, crops.flip) == (448, 3, "short", (512, 512), 0)
    assert (crops.jitter, crops.saliency, tested.saliency) == ((0.3, 0.3, 0.3, 0.1), False, None)
    optim = tested.optim
    assert (optim.optimizer, optim.momentum, optim.nesterov, optim.weight_decay) == ("sgd", 0.9, True, 5e-4)
    assert optim.steps == 100
    assert [optim.learning_rate(step) for step in (0, 49, 50, 99)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])
    assert tested.stride == 8
    assert [tuple(conv.weight.shape[:2]) for conv in tested.networks[LOCAL].correlation.reduce] == [(2, 16), (4, 32)]


def test_the_polynomial_schedule_is_that_of_coco() -> None:
    optim = built(schedule="poly").optim
    assert [optim.learning_rate(step) for step in (0, 50)] == pytest.approx([1e-3, 1e-3 * 0.5**0.9])


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_networks_of_timm_give_their_last_three_stages(stride: int) -> None:
    tested = built(stride=stride)
    net = tested.networks[GLOBAL].eval()
    channels = net.backbone.channels[-3:]
    assert [conv.in_channels for conv in net.correlation.reduce] == list(channels[:2])
    assert net.head.in_channels == channels[2]
    assert tested.maps(torch.randn(1, 3, 64, 96), [2, 0]).shape == (2, 64 // stride, 96 // stride)
    batch = {"image": torch.randn(2, 3, 64, 64), "labels": torch.tensor([[1.0, 0, 1], [0, 1, 0]])}
    tested.train_mode()
    terms = tested.loss(batch)
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert all(
        p.grad is not None for net in tested.networks.values() for p in (net.head.weight, net.correlation.mix.weight)
    )


def test_both_networks_have_weights_of_their_own() -> None:
    tested = built()
    pairs = zip(tested.networks[GLOBAL].parameters(), tested.networks[LOCAL].parameters(), strict=True)
    assert all(one.data_ptr() != other.data_ptr() for one, other in pairs)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_pretrained_weights_of_resnet38_come_from_the_project_and_freeze_what_was_published(
    suffix: str, tmp_path: Path
) -> None:
    torch.manual_seed(9)
    state = ResNet38(base=2).state_dict()
    path = tmp_path / f"w{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    tested = built(tmp_path, encoder="resnet38", encoder_weights=path.name)
    for net in tested.networks.values():
        assert all(torch.equal(net.backbone.state_dict()[name], value) for name, value in state.items())
    learned = {name.split(".")[1] for name in trained(tested) if name.startswith("backbone.")}
    assert not learned & {"conv1a", "b2", "b2_1", "b2_2", "bn7"}
    assert learned >= {"b3", "b7"}
    assert not any(".bn_" in name for name in trained(tested))


def test_random_encoders_train_everything() -> None:
    for encoder in ("resnet38", "tu-test_resnet"):
        tested = built(encoder=encoder)
        assert len(trained(tested)) == len(list(tested.networks[GLOBAL].parameters()))
        tested.train_mode()
        assert all(module.training for module in tested.networks[GLOBAL].modules())


def test_a_checkpoint_without_epochs_gives_its_maps_as_they_are(tmp_path: Path) -> None:
    source = built(encoder="resnet38")
    wanted = {name: torch.randn_like(value.float()) for name, value in source.networks[GLOBAL].state_dict().items()}
    wanted = {name: value.abs() if name.endswith(("var", "tracked")) else value for name, value in wanted.items()}
    torch.save({"state_dict": wanted}, tmp_path / "l2g.pth")
    tested = built(tmp_path, encoder="resnet38", checkpoint="l2g.pth", epochs=0)
    assert tested.optim.steps == 0
    assert torch.equal(tested.networks[GLOBAL].head.weight, wanted["head.weight"])
    assert loaded(tested.networks[GLOBAL]) == f"{len(wanted)} of {len(wanted)} tensors from l2g.pth"
    tested.train_mode()
    assert not any(m.training for m in tested.networks[GLOBAL].modules() if isinstance(m, nn.BatchNorm2d))


def test_saliency_comes_from_a_folder_of_the_project_or_is_estimated(tmp_path: Path) -> None:
    (tmp_path / "sal").mkdir()
    levels = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "sal" / "a.png")
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    tested = built(tmp_path, saliency="sal")
    assert tested.crops.saliency
    assert tested.saliency is not None
    np.testing.assert_array_equal(tested.saliency("a", image), levels / np.float32(255))
    assert tested.saliency("b", image) is None
    estimated = built(saliency="estimate")
    assert estimated.crops.saliency
    assert estimated.saliency is not None
    np.testing.assert_array_equal(estimated.saliency("b", image), boundary_saliency(image))


def test_options_reach_the_objective() -> None:
    options = {"layout": "grid", "threshold": 0.1, "background": "value", "transfer_weight": 30.0, "patches": 9}
    tested = built(**options, activation="softmax", momentum=0.0, flip=0.5, size=[60, 70])
    assert tested._config == TransferConfig(9, 32, "grid", 30.0, 0.1, "value", "softmax")
    assert (tested.optim.momentum, tested.optim.nesterov) == (0, False)
    assert (tested.crops.flip, tested.crops.size) == (0.5, (60, 70))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"patches": 3}, f"{KEY}.patches: expected at least 4 for layout: corners, found 3"),
        ({"patch": 72}, f"{KEY}.patch: expected at most the crop, 64; found 72"),
        ({"patch": 36}, f"{KEY}.patch: expected a multiple of the stride, 8; found 36"),
        ({"crop": 72, "stride": 16}, f"{KEY}.crop: expected a multiple of the stride, 16; found 72"),
        ({"size": (90, 80)}, r"cam.options.l2g.size: expected the smaller length first, found \[90, 80\]"),
        ({"epochs": 0}, f"{KEY}.epochs: expected more than 0 without a checkpoint, found 0"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError, match=f"^{line}$"):
        built(**options)


@pytest.mark.parametrize(
    ("options", "kind", "line"),
    [
        ({"encoder": "resnet38", "stride": 16}, ModelError,
         f"{KEY}.encoder: resnet38 has an output stride of 8, found 16"),
        ({"encoder": "resnet83"}, ModelError, f"{KEY}.encoder: expected an encoder of .*found 'resnet83'"),
        ({"encoder": "tu-test_vit", "stride": 16}, ModelError,
         f"{KEY}.encoder: expected at least 3 stages, of which tu-test_vit has 1"),
        ({"encoder": "resnet38", "encoder_weights": "imagenet"}, ModelError,
         f"{KEY}.encoder_weights: resnet38 has no published set of weights; expected null or .*, found 'imagenet'$"),
        ({"saliency": "nowhere"}, DataError, f"{KEY}.saliency: expected a folder of saliency maps, 'estimate' or null"),
        ({"checkpoint": "none.pth"}, DataError, f"{KEY}.checkpoint: none.pth: expected weights as safetensors or"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line(options: dict[str, Any], kind: type[Exception], line: str) -> None:
    with pytest.raises(kind, match=f"^{line}") as error:
        built(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"layout": "corner"}, "expected one of corners, random, grid"),
        ({"jitter": [0.3, 0.3, 0.3, 0.6]}, "jitter"),
        ({"patch_size": 320}, "l2g has no such option"),
        ({"size": [512]}, "size"),
    ],
)
def test_values_are_checked_before_anything_is_built(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        lookup.check_options("methods.cam", "l2g", ("build",), options, KEY)
