import math

import numpy as np
import pytest
import torch

from wildseg.core import lookup
from wildseg.core.errors import ModelError, ParamsError
from wildseg.methods.architectures import deeplabv3plus, unet
from wildseg.segment.losses import cross_entropy

SMALL = {
    "unet": {"encoder_depth": 3, "decoder_channels": [16, 16, 8]},
    "deeplabv3plus": {"encoder_depth": 3, "decoder_channels": 16},
}
ALL = lookup.available("methods.architectures")


def build(name: str, num_classes: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    module = lookup.load("methods.architectures", name)
    return module.build(num_classes, "resnet18", None, **SMALL.get(name, {}))


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(45, 67), (64, 32), (33, 1)])
def test_every_architecture_answers_in_the_size_it_is_asked_with_one_channel_per_id(
    name: str, size: tuple[int, int]
) -> None:
    network = build(name, num_classes=5).eval()
    with torch.no_grad():
        logits = network(torch.rand(2, 3, *size))
    assert logits.shape == (2, 6, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ALL)
def test_every_architecture_starts_undecided(name: str) -> None:
    network = build(name, num_classes=9).train()
    loss = cross_entropy(network(torch.randn(4, 3, 64, 64)), torch.randint(0, 10, (4, 64, 64)))
    assert loss.item() == pytest.approx(math.log(10), abs=0.5)


@pytest.mark.parametrize("name", ALL)
def test_every_architecture_has_the_same_first_weights_for_the_same_seed(name: str) -> None:
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ALL)
def test_padding_does_not_reach_the_left_upper_corner(name: str) -> None:
    # A frame whose size needs no padding is answered as the bare network answers it.
    network = build(name).eval()
    image = torch.rand(1, 3, 64, 64)
    bare = next(base for base in type(network).__mro__ if base.__module__.startswith("segmentation_models_pytorch"))
    with torch.no_grad():
        torch.testing.assert_close(network(image), bare.forward(network, image))


@pytest.mark.parametrize("name", ALL)
def test_every_architecture_learns_one_image_by_heart(name: str) -> None:
    rows, columns = np.mgrid[:32, :32]
    mask = torch.from_numpy(1 + (rows > 16) + (columns > 16))[None].repeat(2, 1, 1)
    image = torch.nn.functional.one_hot(mask, 4)[..., 1:].permute(0, 3, 1, 2).float()
    network = build(name)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        cross_entropy(network(image), mask).backward()
        optimiser.step()
    # Two equal images in training mode: what is tested is the network, not how soon running statistics settle.
    assert float((network(image).argmax(1) == mask).float().mean()) > 0.99


def test_sizes_are_the_published_ones() -> None:
    assert parameters(unet.build(20, "resnet34", None)) == pytest.approx(24.4e6, rel=0.01)
    assert parameters(deeplabv3plus.build(20, "resnet34", None)) == pytest.approx(22.4e6, rel=0.01)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"encoder_depth": 4}, "decoder_channels: expected 4 widths"),
        ({"encoder_depth": 2}, "encoder_depth: expected 3, 4 or 5, found 2"),
    ],
)
def test_options_of_unet_that_contradict_each_other_are_told(options: dict[str, int], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        unet.build(3, "resnet18", None, **options)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"output_stride": 32}, "output_stride: expected 8 or 16, found 32"),
        ({"encoder_depth": 6}, "encoder_depth: expected 3, 4 or 5, found 6"),
        ({"atrous_rates": [6, 12]}, "atrous_rates: expected three dilations"),
    ],
)
def test_options_of_deeplab_that_mean_nothing_are_told(options: dict[str, object], line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        deeplabv3plus.build(3, "resnet18", None, **options)


def test_an_encoder_that_cannot_be_dilated_is_told_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"^train.encoder: densenet121 cannot be built") as caught:
        deeplabv3plus.build(3, "densenet121", None)
    assert "\n" not in str(caught.value)
