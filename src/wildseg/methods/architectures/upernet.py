"""UPerNet: pyramid pooling on top of a feature pyramid (Xiao et al. 2018, arXiv:1807.10221)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.limits import Channels
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize


class _UPerNet(AnySize, smp.UPerNet):
    pass


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    encoder_depth: Literal[3, 4, 5] = 5,
    decoder_channels: Channels = 256,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder of segmentation-models-pytorch.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5.
        decoder_channels: width of the decoder.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("upernet", encoder_depth)
    network = partial(_UPerNet, encoder_depth=encoder_depth, decoder_channels=decoder_channels, classes=num_classes + 1)
    return decoders.create(network, "upernet", encoder, encoder_weights)
