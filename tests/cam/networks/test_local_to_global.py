"""The two networks of L2G and their objective: what is trained by what, and that the maps get better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from wildseg.cam.networks import fit, patches, transfer
from wildseg.cam.networks.data import LabelledImages
from wildseg.cam.networks.local_to_global import (
    GLOBAL,
    LOCAL,
    CorrelatedNet,
    LocalToGlobalObjective,
    TransferConfig,
)
from wildseg.cam.networks.objective import CropConfig
from wildseg.cam.networks.pcm import propagate
from wildseg.cam.params import Cam
from wildseg.core.classes import IGNORE
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.encoders.cnn.resnet38 import ResNet38
from wildseg.execution import defaults
from wildseg.metrics.evaluation import evaluate
from wildseg.training.context import TrainContext
from wildseg.training.distributed import DistributedContext
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.world import build_world

CLASSES = 3
STRIDE = 4
SIDE, PATCH = 32, 16


class ThreeStages(nn.Module):
    """Three features at a stride of 4, the first of a normalised stem."""

    channels = (16, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16)
        )
        self.middle = nn.Sequential(nn.ReLU(), nn.Conv2d(16, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(32, 32, 1), nn.BatchNorm2d(32), nn.ReLU())

    def forward(self, pixels: Tensor) -> list[Tensor]:
        first = self.stem(pixels)
        second = self.middle(first)
        return [first, second, self.last(second)]


def network(seed: int = 0, classes: int = CLASSES) -> CorrelatedNet:
    torch.manual_seed(seed)
    return CorrelatedNet(ThreeStages(), ThreeStages.channels, classes)


def objective(
    networks: list[CorrelatedNet] | None = None,
    config: TransferConfig | None = None,
    context: TrainContext | None = None,
    **options: Any,  # noqa: ANN401
) -> LocalToGlobalObjective:
    return LocalToGlobalObjective(
        networks or [network(0), network(1)],
        Normalisation(),
        OptimConfig(20, 0.05, "sgd"),
        CropConfig(SIDE, 2),
        STRIDE,
        config or TransferConfig(4, PATCH),
        context or TrainContext(),
        **{"frozen": False, **options},
    )


def batch(images: int = 2, seed: int = 0, **entries: Tensor) -> dict[str, Tensor]:
    noise = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 3, SIDE, SIDE, generator=noise)
    return {"image": pixels, "labels": torch.tensor([[1.0, 0, 1], [0, 1, 0]])[:images], **entries}


# The network ---------------------------------------------------------------------------------------------------------


def test_maps_are_the_head_at_each_cell_and_at_its_propagated_features() -> None:
    net, pixels = network().eval(), batch()["image"]
    first, second, last = net.backbone(pixels)
    wanted = net.head(last) + net.head(net.correlation(last, pixels, (first, second)))  # as published
    found = net(pixels)
    assert found.shape == (2, CLASSES + 1, 8, 8)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(maps.square().mean(), list(net.parameters())) for maps in (found, wanted)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_orthogonal_features_double_the_head() -> None:
    maps, features = torch.randn(1, 4, 2, 3), 10 * torch.eye(6).reshape(1, 6, 2, 3)
    torch.testing.assert_close(maps + propagate(maps, features), 2 * maps, rtol=1e-4, atol=1e-5)


def test_earlier_features_are_trained_only_through_the_last() -> None:
    net, pixels = network(), batch()["image"]
    features = [feature.detach().requires_grad_() for feature in net.backbone(pixels)]
    net.backbone = Fixed(features)
    net(pixels).square().sum().backward()
    assert [feature.grad is not None for feature in features] == [False, False, True]


class Fixed(nn.Module):
    def __init__(self, features: list[Tensor]) -> None:
        super().__init__()
        self.features = features

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return self.features


def test_the_last_three_of_more_features_are_used() -> None:
    net, pixels = network().eval(), batch()["image"]
    wanted = net(pixels)
    features = net.backbone(pixels)
    net.backbone = Fixed([torch.zeros(2, 8, 16, 16), *features])
    torch.testing.assert_close(net(pixels), wanted)
    assert [conv.in_channels for conv in CorrelatedNet(net, (5, 7, 16, 24, 9), 2).correlation.reduce] == [16, 24]


# The loss ------------------------------------------------------------------------------------------------------------


def test_the_terms_are_those_of_the_parts() -> None:
    tested, given = objective(config=TransferConfig(6, PATCH, "corners", 7.0)), batch()
    torch.manual_seed(5)
    found = tested.loss(given)
    torch.manual_seed(5)
    where = patches.places(2, 6, SIDE, PATCH, "corners")
    local = tested.networks[LOCAL](patches.cut(given["image"], where, PATCH))
    labels = given["labels"].repeat_interleave(6, 0)
    probability = local[:, :CLASSES].mean((2, 3)).sigmoid()
    entropy = -(labels * probability.log() + (1 - labels) * (1 - probability).log()).mean()
    torch.testing.assert_close(found["classification"], entropy, rtol=1e-5, atol=1e-6)
    whole = transfer.at_patches(
        tested.networks[GLOBAL](given["image"]), patches.boxes(where, PATCH), local.shape[2:], 4
    )
    wanted = 7.0 * (whole.softmax(1) - transfer.attention_target(local, labels)).square().mean()
    torch.testing.assert_close(found["transfer"], wanted, rtol=1e-5, atol=1e-6)


def test_the_transfer_trains_the_global_network_alone_and_classification_the_local_one() -> None:
    tested = objective()
    for term, trained in (("transfer", GLOBAL), ("classification", LOCAL)):
        tested.loss(batch())[term].backward()
        for name, net in tested.networks.items():
            gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
            assert any(float(gradient.abs().max()) > 0 for gradient in gradients) == (name == trained)
            net.zero_grad(set_to_none=True)


def test_only_images_with_saliency_get_a_shape() -> None:
    tested = objective()
    saliency = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))

    def value(known: list[bool], shown: Tensor = saliency) -> float:
        torch.manual_seed(5)
        return float(tested.loss(batch(saliency=shown, has_saliency=torch.tensor(known)))["transfer"].detach())

    torch.manual_seed(5)
    plain = float(tested.loss(batch())["transfer"].detach())
    assert value([False, False]) == plain
    only_first = value([True, False])
    assert len({plain, only_first, value([False, True]), value([True, True])}) == 4
    assert value([True, False], torch.cat([saliency[:1], 1 - saliency[1:]])) == only_first


@pytest.mark.parametrize("layout", ["corners", "random", "grid"])
def test_patches_are_cut_as_the_layout_says(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    places = patches.places
    monkeypatch.setattr(patches, "places", lambda *given: seen.append(given) or places(*given))
    objective(config=TransferConfig(6, PATCH, layout)).loss(batch())
    assert seen == [(2, 6, SIDE, PATCH, layout)]


def test_two_processes_have_the_loss_of_one() -> None:
    class Half(DistributedContext):
        def sum(self, tensor: Tensor) -> Tensor:
            return tensor + 1.0  # the other process has one image

    networks = [network(0).eval(), network(1).eval()]
    config = TransferConfig(4, PATCH, "grid")
    whole = objective(networks, config).loss(batch())
    context = TrainContext(distributed=Half(world_size=2))
    given = batch()
    shares = [
        objective(networks, config, context).loss({name: value[i : i + 1] for name, value in given.items()})
        for i in range(2)
    ]
    for name, term in whole.items():
        torch.testing.assert_close(shares[0][name] + shares[1][name], term, rtol=1e-5, atol=1e-6)


# Training ------------------------------------------------------------------------------------------------------------


def test_new_layers_learn_ten_times_as_fast_and_biases_twice() -> None:
    tested = objective()
    scales = {id(parameter): group.lr_scale for group in tested.param_groups() for parameter in group.params}
    for net in tested.networks.values():
        for name, parameter in net.named_parameters():
            wanted = (1 if name.startswith("backbone") else 10) * (2 if name.endswith("bias") else 1)
            assert scales.pop(id(parameter)) == wanted, name
    assert not scales
    assert {group.weight_decay for group in tested.param_groups()} == {None}


def test_a_pretrained_network_keeps_its_normalisations_and_early_layers() -> None:
    torch.manual_seed(0)
    trunks = [ResNet38(base=2) for _ in range(2)]
    tested = objective([CorrelatedNet(trunk, trunk.channels, CLASSES) for trunk in trunks], frozen=True)
    tested.train_mode()
    for net in tested.networks.values():
        kept = {name for name, parameter in net.backbone.named_parameters() if not parameter.requires_grad}
        assert all(name in kept for name in net.backbone.state_dict() if ".bn" in name and name.endswith("bias"))
        assert {name.split(".")[0] for name in kept if "conv" in name} == {"conv1a", "b2", "b2_1", "b2_2"}
        modes = {module.training for module in net.modules() if isinstance(module, nn.BatchNorm2d)}
        assert modes == {False}
        assert all(module.training for module in net.modules() if isinstance(module, nn.Dropout2d))
    trained = {id(parameter) for group in tested.param_groups() for parameter in group.params}
    assert not trained & {id(p) for net in tested.networks.values() for p in net.parameters() if not p.requires_grad}


def test_a_random_network_trains_its_normalisations() -> None:
    tested = objective()
    tested.train_mode()
    assert all(parameter.requires_grad for net in tested.networks.values() for parameter in net.parameters())
    assert all(module.training for net in tested.networks.values() for module in net.modules())


def test_whole_images_as_patches_teach_the_same_network_its_own_maps() -> None:
    net, other = network(), network()
    config = TransferConfig(1, SIDE, "grid", 10.0)
    tested = objective([net, other], config, saliency=None)
    given = batch(1, saliency=torch.ones(1, 1, SIDE, SIDE), has_saliency=torch.tensor([True]))
    given["saliency"][:, :, :, SIDE // 2 :] = 0
    trainer = Trainer(tested, replace(tested.optim, steps=30, lr=0.02))
    losses = [float(tested.loss(given)["transfer"].detach())]
    for _ in trainer.run(lambda start, stop: [given] * (stop - start)):
        losses.append(float(tested.loss(given)["transfer"].detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("activation", ["relu", "softmax"])
def test_maps_are_those_of_the_global_network_after_its_activation(activation: str) -> None:
    tested, pixels = objective(config=TransferConfig(activation=activation)), torch.randn(1, 3, 24, 32)
    for net in tested.networks.values():
        net.eval()
    with torch.no_grad():
        whole = tested.networks[GLOBAL](pixels)[0]
    # The relu follows the mean over scales and flips.
    wanted = whole if activation == "relu" else whole.exp() / whole.exp().sum(0)
    found = tested.maps(pixels, [2, 0])
    torch.testing.assert_close(found, wanted[[2, 0]])
    assert found.shape == (2, 6, 8)
    assert not found.requires_grad
    assert tested.saved == (GLOBAL,)


def test_a_source_of_saliency_is_handed_on() -> None:
    source: Callable[[str, np.ndarray], np.ndarray | None] = lambda frame, image: None  # noqa: E731
    assert objective(saliency=source).saliency is source
    assert objective().saliency is None


# Eight frames --------------------------------------------------------------------------------------------------------

# Places that differ in what they hold, so that labels of frames alone say something about the surfaces.
PLACES = (
    (0, "street"),
    (1, "sidewalk"),
    (2, "park"),
    (4, "trail"),
    (7, "park"),
    (8, "plaza"),
    (9, "trail"),
    (10, "street"),
)
SURFACES = (Surface.CEMENT_ROAD, Surface.RED_BRICK_PATH, Surface.SOIL, Surface.LAWN)


def map_miou(tested: LocalToGlobalObjective, views: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The mIoU, over the pixels of four surfaces, of the surface whose map is the highest of the four."""
    for net in tested.networks.values():
        net.eval()
    pairs = []
    for image, truth in views:
        pixels = functional.to_dtype(torch.from_numpy(image).permute(2, 0, 1), torch.float32, scale=True)
        pixels = functional.normalize(functional.resize(pixels, [64, 88]), tested.norm.mean, tested.norm.std)
        maps = functional.resize(tested.maps(pixels[None], range(4)), list(truth.shape))
        ids = np.searchsorted(SURFACES, truth).astype(np.uint8) + 1
        pairs.append((maps.argmax(0).numpy().astype(np.uint8) + 1, np.where(np.isin(truth, SURFACES), ids, IGNORE)))
    return evaluate(pairs, ["background", *(surface.name for surface in SURFACES)]).miou


def test_it_learns_where_surfaces_are_from_the_labels_of_eight_frames() -> None:
    views = [build_world(seed, kind).render(2.0) for seed, kind in PLACES]
    labels = np.array([[(truth == surface).mean() > 0.03 for surface in SURFACES] for _, truth in views])
    read = LabelledImages([*"01234567"], labels, lambda name: views[int(name)][0])
    tested = objective([network(0, 4), network(1, 4)], TransferConfig(4, 40))
    tested.optim = OptimConfig(60, 0.01, schedule="poly", weight_decay=1e-4)
    tested.crops = CropConfig(64, 4, "short", (64, 64))
    before = map_miou(tested, views)
    for _ in fit.train(tested, read, TrainContext(), defaults.section(Cam, "cam")):
        pass
    assert map_miou(tested, views) > before + 0.2
