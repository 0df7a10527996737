"""ResNet-38: a wide residual network of stride 8 (Wu et al. 2016, arXiv:1611.10080), as map networks use it.

Names and numbers of its tensors are those of the PSA, SEAM and L2G code bases, so that their weights fit: blocks ``b2``
to ``b7``, in each ``bn_branch2a``, ``conv_branch2a``, ... Every block is pre-activated: its input is normalised and
rectified before each convolution, and a shortcut that changes shape takes that activation too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from wildseg.core.errors import ModelError
from wildseg.encoders.cnn.match_weights import match_weights
from wildseg.encoders.cnn.normalisation import Normalisation
from wildseg.encoders.cnn.weight_file import read_weights

NAME = "resnet38"  # the value of `encoder`
STRIDE = 8
LAYERS = ("2a", "2b1", "2b2")  # of a block's residual branch, in the names of their tensors
# What files hold beside it: classifiers, and the layers of SEAM's and L2G's pixel correlation.
HEADS = ("fc8", "f8_3", "f8_4", "f9", "linear1000")


class Conv(NamedTuple):
    """A convolution of a block: channels out of it, side of its kernel, stride, dilation."""

    channels: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1


class Block(nn.Module):
    """A residual block of two or three convolutions, each after a batch normalisation and a relu."""

    def __init__(self, channels: int, convs: Sequence[Conv], dropout: float = 0.0) -> None:
        """Build the block.

        Args:
            channels: of the input.
            convs: of the residual branch; the last one gives the channels of the output.
            dropout: probability to drop a channel before each convolution but the first.
        """
        super().__init__()
        inside = channels
        for layer, (outside, kernel, stride, dilation) in zip(LAYERS, convs, strict=False):
            padding = dilation * (kernel // 2)
            conv = nn.Conv2d(inside, outside, kernel, stride, padding, dilation, bias=False)
            self.add_module(f"bn_branch{layer}", nn.BatchNorm2d(inside))
            self.add_module(f"conv_branch{layer}", conv)
            inside = outside
        stride = max(conv.stride for conv in convs)
        keeps_shape = channels == inside and stride == 1
        self.conv_branch1 = None if keeps_shape else nn.Conv2d(channels, inside, 1, stride, bias=False)
        self._layers = LAYERS[: len(convs)]
        self._dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (B, D, h', w') of the input (B, C, h, w), and the input normalised and rectified."""
        first = branch = self.get_submodule("bn_branch2a")(x).relu()
        for layer in self._layers:
            if layer != LAYERS[0]:
                branch = self._dropout(self.get_submodule(f"bn_branch{layer}")(branch).relu())
            branch = self.get_submodule(f"conv_branch{layer}")(branch)
        return (x if self.conv_branch1 is None else self.conv_branch1(first)) + branch, first


def _plain(channels: int, middle: int, outside: int, stride: int = 1, dilations: tuple[int, int] = (1, 1)) -> Block:
    return Block(channels, [Conv(middle, 3, stride, dilations[0]), Conv(outside, 3, 1, dilations[1])])


def _bottleneck(channels: int, outside: int, dropout: float) -> Block:
    middle = Conv(outside // 2, 3, dilation=4)
    return Block(channels, [Conv(outside // 4, 1), middle, Conv(outside, 1)], dropout)


class ResNet38(nn.Module):
    """Three features at stride 8: conv4 (512 channels), conv5 (1024) and conv6 (4096).

    conv4 and conv5 are the activations that the blocks b5 and b6 begin with, conv6 is the rectified output.

    Attributes:
        channels: of the features.
        strides: pixels of the image per cell of each.
        norm: mean and deviation of the images: ImageNet's.
    """

    strides = (STRIDE, STRIDE, STRIDE)

    def __init__(self, base: int = 64) -> None:
        """Build it with random weights; all channels are multiples of `base`, those of the first convolution."""
        super().__init__()
        self.norm = Normalisation()
        one, two, four, eight, sixteen, most = (base * factor for factor in (1, 2, 4, 8, 16, 64))
        self.channels = (eight, sixteen, most)
        self.conv1a = nn.Conv2d(3, one, 3, padding=1, bias=False)
        self.b2 = _plain(one, two, two, stride=2)
        self.b2_1, self.b2_2 = (_plain(two, two, two) for _ in range(2))
        self.b3 = _plain(two, four, four, stride=2)
        self.b3_1, self.b3_2 = (_plain(four, four, four) for _ in range(2))
        self.b4 = _plain(four, eight, eight, stride=2)
        self.b4_1, self.b4_2, self.b4_3, self.b4_4, self.b4_5 = (_plain(eight, eight, eight) for _ in range(5))
        self.b5 = _plain(eight, eight, sixteen, dilations=(1, 2))
        self.b5_1, self.b5_2 = (_plain(sixteen, eight, sixteen, dilations=(2, 2)) for _ in range(2))
        self.b6 = _bottleneck(sixteen, most // 2, dropout=0.3)
        self.b7 = _bottleneck(most // 2, most, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(most)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return conv4, conv5 and conv6 (B, D, h, w) of images (B, 3, H, W) normalised by `norm`."""
        x = self.conv1a(pixels)
        for block in (self.b2, self.b2_1, self.b2_2, self.b3, self.b3_1, self.b3_2):
            x, _ = block(x)
        for block in (self.b4, self.b4_1, self.b4_2, self.b4_3, self.b4_4, self.b4_5):
            x, _ = block(x)
        x, conv4 = self.b5(x)
        for block in (self.b5_1, self.b5_2):
            x, _ = block(x)
        x, conv5 = self.b6(x)
        x, _ = self.b7(x)
        return [conv4, conv5, self.bn7(x).relu()]

    def early_layers(self) -> list[nn.Module]:
        """Return the layers that keep their pretrained weights in training: all before the second halving."""
        return [self.conv1a, self.b2, self.b2_1, self.b2_2]


def create(weights: str | None, stride: int = STRIDE, key: str = "encoder", base: int = 64) -> ResNet38:
    """Build the network.

    Args:
        weights: None (random), or a local .safetensors or .pth file with its tensors, also inside of a larger network.
        stride: pixels per cell of the features; it has no other than 8.
        key: the parameter that names the encoder, for error lines; `<key>_weights` names its weights.
        base: see `ResNet38`.

    Raises:
        DataError: the file cannot be read.
        ModelError: another stride, or the weights do not fit.
    """
    if stride != STRIDE:
        raise ModelError(f"{key}: {NAME} has an output stride of 8, found {stride}; set stride: 8, or another encoder")
    network = ResNet38(base)
    if weights is None:
        return network
    if not Path(weights).suffix:
        raise ModelError(
            f"{key}_weights: {NAME} has no published set of weights; expected null or a local .safetensors or .pth "
            f"file, found {Path(weights).name!r}"
        )
    found = read_weights(Path(weights), f"{key}_weights")
    whole = [*network.state_dict(), *(f"{head}.{kind}" for head in HEADS for kind in ("weight", "bias"))]
    fitted = match_weights(network, found, whole, f"{key}_weights: {weights} does not fit {NAME}")
    network.load_state_dict(fitted.state, strict=False)  # a file may lack counters of batches
    return network
