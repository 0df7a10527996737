"""Which layers are found, in every architecture, and that each of them can be explained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.methods.architectures import test_architectures
from tests.methods.architectures.test_architectures import ALL
from tests.segment.explain.networks import Curved, seeded
from wildseg.core import lookup
from wildseg.core.errors import ModelError
from wildseg.segment.explain.evidence import evidence_map, grid_covers, record
from wildseg.segment.explain.layers import find

STAGES = {
    ("unet", "resnet18"): ["encoder.layer2", "decoder.blocks.0", "decoder.blocks.1", "decoder.blocks.2"],
    ("unet", "mit_b0"): ["decoder.center", "decoder.blocks.0", "decoder.blocks.1", "decoder.blocks.2"],
    ("unet", "tu-regnetx_002"): ["encoder.model.s2", "decoder.blocks.0", "decoder.blocks.1", "decoder.blocks.2"],
    ("deeplabv3plus", "resnet18"): ["encoder.layer2", "decoder.aspp", "decoder.block1", "decoder.block2"],
}


def build(architecture: str, encoder: str = "") -> nn.Module:
    return test_architectures.build(architecture, encoder=encoder)


@pytest.mark.parametrize(("architecture", "encoder"), STAGES)
def test_the_stages_are_the_end_of_the_encoder_and_the_parts_of_the_decoder(architecture: str, encoder: str) -> None:
    assert find(build(architecture, encoder)).stages == STAGES[architecture, encoder]


@pytest.mark.parametrize("architecture", ALL)
def test_every_layer_that_is_found_in_any_architecture_can_be_explained_in_a_frame_of_any_size(
    architecture: str,
) -> None:
    network = build(architecture).eval()
    found = find(network)
    assert len(found.stages) > 2
    assert set(found.stages) < {layer.name for layer in found.all}
    height, width = 21, 35
    pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    region = torch.zeros(height, width)
    region[5:12, 8:20] = 1
    covered = grid_covers(network, (height, width))
    shown = 0
    for layer in found.all:
        trace = record(network, layer.name, pixels, region, 1)
        assert trace.activations.shape[1] == layer.channels, layer
        assert trace.activations.shape[2] * layer.stride == covered[0], layer
        assert trace.activations.shape[3] * layer.stride == covered[1], layer
        for name in ("gradcam", "hirescam"):
            map_ = evidence_map(trace, lookup.load("methods.cam", name), covered)
            assert map_.shape == (height, width)
            assert 0 <= map_.min() <= map_.max() <= 1
            shown += int(map_.any())
    assert shown > len(found.all)  # of two methods: more than half of all maps


@pytest.mark.parametrize("architecture", ALL)
def test_a_map_lies_over_the_frame_and_not_over_what_it_is_padded_with(architecture: str) -> None:
    # HiResCAM of one pixel at the last stage lies around it, which a map stretched over the frame would not.
    network = build(architecture).eval()
    if architecture == "san":  # of these random masks all have evidence against their pixels
        network.decoder.pixel.layers[-1].weight.data.neg_()
        network.decoder.pixel.layers[-1].bias.data.neg_()
    height, width = 33, 41  # padded by nearly a whole stride
    x, y = 38, 30
    region = torch.zeros(height, width)
    region[y, x] = 1
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, height, width, generator=generator) for _ in range(4)]
    layers = find(network)
    last = layers.chosen([layers.stages[-1]])[0]
    # The first with evidence for the class: of random weights, some have none, or only evidence against it.
    traces = (record(network, last.name, pixels, region, index) for pixels in images for index in (2, 1, 3, 0))
    trace = next(trace for trace in traces if ((trace.gradients() * trace.activations).sum(1) > 0).any())
    raw = (trace.gradients() * trace.activations).sum(1)[0]
    down, across = (raw.abs() > 0).nonzero(as_tuple=True)
    assert (down.float() + 0.5).mul(last.stride).mean().item() == pytest.approx(y, abs=1.5 * last.stride)
    assert (across.float() + 0.5).mul(last.stride).mean().item() == pytest.approx(x, abs=1.5 * last.stride)
    covered = grid_covers(network, (height, width))
    assert covered == (raw.shape[0] * last.stride, raw.shape[1] * last.stride)
    map_ = evidence_map(trace, lookup.load("methods.cam", "hirescam"), covered)
    rows, columns = (map_ > 0).nonzero(as_tuple=True)
    assert (rows - y).abs().max() <= 3 * last.stride
    assert (columns - x).abs().max() <= 3 * last.stride


def test_a_layer_that_runs_twice_or_returns_no_grid_is_not_offered() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.once = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1)
            self.pooled, self.never = nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.once(self.twice(self.twice(pixels))) + self.pooled(pixels).mean()

    assert [layer.name for layer in find(Odd()).all] == ["once"]


def test_a_module_that_does_nothing_is_offered_only_where_no_other_returns_the_same() -> None:
    names = {encoder: [layer.name for layer in find(build("unet", encoder)).all] for encoder in ("resnet18", "mit_b0")}
    assert "decoder.center" in names["mit_b0"]  # what comes out of this encoder is no module's own output
    assert "decoder.center" not in names["resnet18"]
    assert "encoder.layer2" in names["resnet18"]


def test_looking_for_layers_leaves_the_network_as_it_was() -> None:
    network = seeded(Curved).train()
    network.dropout.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    find(network)
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_unknown_layer_is_told_with_the_stages_and_the_nearest() -> None:
    layers = find(build("unet"))
    with pytest.raises(
        ModelError, match=r"expected one of encoder\.layer2, decoder\.blocks\.0, .*--list-layers"
    ) as caught:
        layers.chosen(["decoder.block.1"])
    assert str(caught.value).endswith("found 'decoder.block.1'; did you mean 'decoder.blocks.1'?")
    assert [layer.name for layer in layers.chosen(["encoder.layer1.0.bn1"])] == ["encoder.layer1.0.bn1"]
    assert [layer.name for layer in layers.chosen(["decoder", "decoder"])] == ["decoder"]
    assert [layer.name for layer in layers.chosen([])] == layers.stages
