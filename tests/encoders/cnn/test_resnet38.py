"""ResNet-38 against its table: names and shapes of tensors, their number, and the blocks as plain functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from wildseg.core.errors import ModelError
from wildseg.encoders.cnn import resnet38
from wildseg.encoders.cnn.resnet38 import ResNet38

# Of each block: channels in and out of its convolutions, sides of their kernels, strides, dilations.
PLAIN = {
    "b2": ((64, 128, 128), 2, (1, 1)), "b2_1": ((128, 128, 128), 1, (1, 1)), "b2_2": ((128, 128, 128), 1, (1, 1)),
    "b3": ((128, 256, 256), 2, (1, 1)), "b3_1": ((256, 256, 256), 1, (1, 1)), "b3_2": ((256, 256, 256), 1, (1, 1)),
    "b4": ((256, 512, 512), 2, (1, 1)), **{f"b4_{i}": ((512, 512, 512), 1, (1, 1)) for i in range(1, 6)},
    "b5": ((512, 512, 1024), 1, (1, 2)), "b5_1": ((1024, 512, 1024), 1, (2, 2)), "b5_2": ((1024, 512, 1024), 1, (2, 2)),
}  # fmt: skip
BOTTLENECKS = {"b6": (1024, 512, 1024, 2048), "b7": (2048, 1024, 2048, 4096)}


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Kernels and normalisations as the checkpoints of PSA, SEAM and L2G name them."""
    shapes: dict[str, tuple[int, ...]] = {"conv1a.weight": (64, 3, 3, 3)}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    for name, ((inside, middle, outside), stride, _) in PLAIN.items():
        norm(f"{name}.bn_branch2a", inside)
        norm(f"{name}.bn_branch2b1", middle)
        shapes[f"{name}.conv_branch2a.weight"] = (middle, inside, 3, 3)
        shapes[f"{name}.conv_branch2b1.weight"] = (outside, middle, 3, 3)
        if inside != outside or stride > 1:
            shapes[f"{name}.conv_branch1.weight"] = (outside, inside, 1, 1)
    for name, (inside, low, middle, outside) in BOTTLENECKS.items():
        norm(f"{name}.bn_branch2a", inside)
        norm(f"{name}.bn_branch2b1", low)
        norm(f"{name}.bn_branch2b2", middle)
        shapes[f"{name}.conv_branch2a.weight"] = (low, inside, 1, 1)
        shapes[f"{name}.conv_branch2b1.weight"] = (middle, low, 3, 3)
        shapes[f"{name}.conv_branch2b2.weight"] = (outside, middle, 1, 1)
        shapes[f"{name}.conv_branch1.weight"] = (outside, inside, 1, 1)
    norm("bn7", 4096)
    return shapes


@pytest.fixture(scope="module")
def whole() -> ResNet38:
    """The network at its published size, without memory for its weights."""
    with torch.device("meta"):
        return ResNet38()


def small(seed: int = 0) -> ResNet38:
    """One of 1/16 of the channels, its normalisations not the identity."""
    torch.manual_seed(seed)
    network = ResNet38(base=4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


def test_tensors_have_the_names_and_shapes_of_the_checkpoints(whole: ResNet38) -> None:
    assert {name: tuple(value.shape) for name, value in whole.state_dict().items()} == expected_shapes()


def test_it_has_105_million_parameters(whole: ResNet38) -> None:
    counted = [shape for name, shape in expected_shapes().items() if name.endswith(("weight", "bias"))]
    assert sum(torch.Size(shape).numel() for shape in counted) == 105_070_912
    assert sum(parameter.numel() for parameter in whole.parameters()) == 105_070_912


def test_all_three_features_are_at_stride_8(whole: ResNet38) -> None:
    shapes = [tuple(feature.shape) for feature in whole(torch.empty(2, 3, 320, 448, device="meta"))]
    assert shapes == [(2, 512, 40, 56), (2, 1024, 40, 56), (2, 4096, 40, 56)]
    assert whole.channels == (512, 1024, 4096)
    assert whole.strides == (8, 8, 8)


# The forward pass as plain functions --------------------------------------------------------------------------------


def reference(state: dict[str, Tensor], pixels: Tensor) -> list[Tensor]:
    def activated(name: str, x: Tensor) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"]).relu()

    def conv(name: str, x: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        kernel = state[f"{name}.weight"]
        return F.conv2d(x, kernel, None, stride, dilation * (kernel.shape[-1] // 2), dilation)

    x = conv("conv1a", pixels)
    found = {}
    for name, (_, stride, (first, second)) in PLAIN.items():
        a = found[name] = activated(f"{name}.bn_branch2a", x)
        shortcut = conv(f"{name}.conv_branch1", a, stride) if f"{name}.conv_branch1.weight" in state else x
        a = conv(f"{name}.conv_branch2a", a, stride, first)
        x = shortcut + conv(f"{name}.conv_branch2b1", activated(f"{name}.bn_branch2b1", a), 1, second)
    for name in BOTTLENECKS:
        a = found[name] = activated(f"{name}.bn_branch2a", x)
        b = activated(f"{name}.bn_branch2b1", conv(f"{name}.conv_branch2a", a))
        b = activated(f"{name}.bn_branch2b2", conv(f"{name}.conv_branch2b1", b, 1, 4))
        x = conv(f"{name}.conv_branch1", a) + conv(f"{name}.conv_branch2b2", b)
    return [found["b5"], found["b6"], activated("bn7", x)]


def test_the_forward_pass_is_that_of_the_table() -> None:
    network = small()
    pixels = torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pairs = zip(network(pixels), reference(network.state_dict(), pixels), strict=True)
        for found, wanted in pairs:
            assert found.shape[2:] == (5, 7)
            assert wanted.std() > 0.1
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_channels_are_dropped_in_training_only_before_later_convolutions_of_the_bottlenecks() -> None:
    network = small()
    dropped = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Dropout2d):
            module.register_forward_hook(note(dropped, name.split(".")[0]))
    pixels = torch.randn(1, 3, 16, 16)
    network(pixels)
    assert {name: shares for name, shares in dropped.items() if any(shares)} == {}
    dropped.clear()
    torch.manual_seed(0)
    network.train()
    network(pixels)
    assert len(dropped["b6"]) == len(dropped["b7"]) == 2
    assert {name for name, shares in dropped.items() if any(shares)} == {"b6", "b7"}
    assert sum(dropped["b6"]) / 2 == pytest.approx(0.3, abs=0.1)
    assert sum(dropped["b7"]) / 2 == pytest.approx(0.5, abs=0.1)


def note(dropped: dict[str, list[float]], block: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        alive = inputs[0].amax((2, 3)) > 0
        gone = alive & (output.amax((2, 3)) == 0)
        dropped.setdefault(block, []).append(float(gone.sum() / alive.sum()))

    return hook


def test_early_layers_are_all_before_the_second_halving(whole: ResNet38) -> None:
    early = {id(layer) for layer in whole.early_layers()}
    assert [name for name, layer in whole.named_children() if id(layer) in early] == ["conv1a", "b2", "b2_1", "b2_2"]


# Weights -------------------------------------------------------------------------------------------------------------


def build(path: Path) -> ResNet38:
    return resnet38.create(str(path), base=4)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file_of_a_network_around_it(prefix: str, suffix: str, tmp_path: Path) -> None:
    state = small(seed=3).state_dict()
    around = {"fc8.weight": torch.zeros(5, 256, 1, 1), "f8_3.weight": torch.zeros(4, 32, 1, 1)}
    found = {f"{prefix}{name}": value for name, value in (state | around).items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"epoch": 3, "state_dict": found}, path)
    else:
        save_file(found, path)
    loaded = build(path).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_file_without_counters_of_batches_fits(tmp_path: Path) -> None:
    state = small(seed=3).state_dict()
    torch.save({name: value for name, value in state.items() if "batches" not in name}, tmp_path / "w.pth")
    assert torch.equal(build(tmp_path / "w.pth").conv1a.weight, state["conv1a.weight"])


def test_weights_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    state = small().state_dict()
    state.pop("b4_3.conv_branch2a.weight")
    state["conv1a.weight"] = torch.zeros(4, 1, 3, 3)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"^encoder_weights: .*1 of .* missing, such as b4_3.conv_branch2a.weight.*"
                                         r"conv1a.weight is \(4, 1, 3, 3\) instead of \(4, 3, 3, 3\)$"):  # fmt: skip
        build(tmp_path / "w.pth")


def test_it_has_no_other_stride_than_8() -> None:
    with pytest.raises(ModelError, match="cam.options.l2g.encoder: resnet38 has an output stride of 8, found 16"):
        resnet38.create(None, 16, "cam.options.l2g.encoder")
