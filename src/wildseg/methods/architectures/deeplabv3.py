"""DeepLabV3: atrous spatial pyramid pooling of the deepest level alone (Chen et al. 2017, arXiv:1706.05587)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.limits import Between, Channels, Length
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize


class _DeepLabV3(AnySize, smp.DeepLabV3):
    pass


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    encoder_depth: Literal[3, 4, 5] = 5,
    output_stride: Literal[8, 16] = 8,
    decoder_channels: Channels = 256,
    atrous_rates: Annotated[Sequence[Annotated[int, Between(1, 1000)]], Length(3, 3)] = (12, 24, 36),
    dropout: Annotated[float, Between(0, 0.99)] = 0.5,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder of segmentation-models-pytorch that can be dilated.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5.
        output_stride: pixels per cell of the deepest level, 8 or 16; what lies deeper is dilated instead.
        decoder_channels: width of the pyramid.
        atrous_rates: dilations of the pyramid's three convolutions, in cells of the deepest level.
        dropout: share of the pyramid's output that is dropped in training.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("deeplabv3", encoder_depth)
    decoders.check_stride("deeplabv3", output_stride, (8, 16))
    decoders.check_rates("deeplabv3", atrous_rates)
    network = partial(
        _DeepLabV3,
        encoder_depth=encoder_depth,
        encoder_output_stride=output_stride,
        decoder_channels=decoder_channels,
        decoder_atrous_rates=tuple(atrous_rates),
        decoder_aspp_dropout=dropout,
        classes=num_classes + 1,
    )
    return decoders.create(network, "deeplabv3", encoder, encoder_weights)
