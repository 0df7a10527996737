"""The classifier of trained maps: loss, maps by two ways, what is frozen, and that it learns where surfaces are."""

from __future__ import annotations

import math

import pytest
import torch

from tests.cam.networks import rendered
from wildseg.cam.networks.classifier import NAME, ClassifierNet, ClassifierObjective
from wildseg.cam.networks.objective import CropConfig
from wildseg.training.context import TrainContext
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer

CLASSES = [1, 4, 7]


def objective(steps: int = 0, **options: bool) -> ClassifierObjective:
    torch.manual_seed(1)
    backbone = rendered.TinyBackbone()
    network = ClassifierNet(backbone, backbone.channels[-1], 10)
    optim = OptimConfig(steps, 0.01, weight_decay=1e-4)
    crops = CropConfig(64, 8, "long", (112, 112))
    return ClassifierObjective(network, backbone.norm, optim, crops, 4, TrainContext(1), head_lr=1.0, **options)


def test_the_loss_is_the_mean_binary_cross_entropy_of_images_and_classes() -> None:
    tested = objective()
    batch = {"image": torch.randn(2, 3, 16, 16), "labels": (torch.rand(2, 10) > 0.5).float()}
    logits = tested.network(batch["image"])
    terms = [
        -math.log(1 / (1 + math.exp(-logit))) if label else -math.log(1 - 1 / (1 + math.exp(-logit)))
        for logit, label in zip(logits.flatten().tolist(), batch["labels"].flatten().tolist(), strict=True)
    ]
    assert tested.loss(batch)["classification"].item() == pytest.approx(sum(terms) / 20, rel=1e-5)


def test_a_logit_is_the_mean_of_its_class_map() -> None:
    network, pixels = objective().network, torch.randn(2, 3, 16, 24)
    expected = torch.einsum("bdhw,cd->bchw", network.features(pixels), network.classifier.weight[:, :, 0, 0])
    torch.testing.assert_close(network.class_maps(pixels), expected)
    torch.testing.assert_close(network(pixels), expected.mean((2, 3)))


def test_maps_are_the_relu_of_the_class_maps_of_the_queried_classes() -> None:
    tested, pixels = objective(), torch.randn(1, 3, 16, 24)
    expected = tested.network.class_maps(pixels)[0, CLASSES].clamp(min=0)
    torch.testing.assert_close(tested.maps(pixels, CLASSES), expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_backbone_stays_as_it_was(frozen: bool) -> None:
    tested = objective(2, frozen=frozen)
    before = {name: value.clone() for name, value in tested.network.state_dict().items()}
    rendered.train(tested)
    changed = {name for name, value in tested.network.state_dict().items() if not torch.equal(value, before[name])}
    assert "classifier.weight" in changed
    assert any(name.startswith("backbone.") for name in changed) != frozen


def test_the_head_has_its_own_learning_rate() -> None:
    tested = objective(1)
    tested._head_lr = 10.0
    groups = Trainer(tested, tested.optim)._optimizer.param_groups
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert scales[id(tested.network.classifier.weight)] == 10
    assert {scales[id(p)] for p in tested.network.backbone.parameters()} == {1}
    assert set(tested.networks) == {NAME} == set(tested.saved)


def test_it_learns_where_the_surfaces_of_eight_frames_are() -> None:
    tested = objective(200)
    before = rendered.map_miou(tested)
    rendered.train(tested, seed=1)
    assert rendered.map_miou(tested) > before + 0.1  # .02 before and .18 after
