"""Early stages that are frozen: the gradients of a network that is detached there, and nothing else changed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wildseg.cam.networks.frozen_stages import freeze_early_stages
from wildseg.encoders.cnn import backbone


class Stages(nn.Module):
    """Four stages, one of them normalised; `detached` cuts the gradient behind the second."""

    def __init__(self, detached: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = ((3, 4), (4, 4), (4, 6), (6, 5))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, 2 if k < 2 else 1, 1), nn.BatchNorm2d(o), nn.ReLU())
            for k, (i, o) in enumerate(sizes)
        )
        self.detached = detached

    def forward(self, pixels: Tensor) -> list[Tensor]:
        outputs = []
        for number, stage in enumerate(self.stages):
            pixels = stage(pixels)
            outputs.append(pixels)
            if number == 1 and self.detached:
                pixels = pixels.detach()
        return outputs


def gradients(net: Stages) -> dict[str, Tensor | None]:
    torch.manual_seed(1)
    net(torch.randn(2, 3, 16, 16))[-1].square().sum().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


def test_gradients_are_those_of_a_network_detached_there() -> None:
    frozen = Stages()
    freeze_early_stages(frozen, 2, 4)
    expected = gradients(Stages(detached=True))
    found = gradients(frozen)
    assert [name for name, value in expected.items() if value is None] == [
        f"stages.{stage}.{layer}.{kind}" for stage in (0, 1) for layer in (0, 1) for kind in ("weight", "bias")
    ]
    for name, value in expected.items():
        assert (found[name] is None) == (value is None)
        if value is not None:
            torch.testing.assert_close(found[name], value, atol=0, rtol=0)


@pytest.mark.parametrize("trained", [4, 9])
def test_a_backbone_of_no_more_stages_is_trained_as_a_whole(trained: int) -> None:
    net = Stages()
    freeze_early_stages(net, trained, 4)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_statistics_and_modes_stay() -> None:
    net = Stages()
    net.stages[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    freeze_early_stages(net, 2, 4)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_resnet_trains_its_last_two_stages() -> None:
    net = backbone.create("tu-resnet18", None, 16, "cam.options.ccam.encoder")
    freeze_early_stages(net, 2, 16)
    trained = {name.split(".")[2] for name, parameter in net.named_parameters() if parameter.requires_grad}
    frozen = {name.split(".")[2] for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert (trained, frozen) == ({"layer3", "layer4"}, {"conv1", "bn1", "layer1", "layer2"})
