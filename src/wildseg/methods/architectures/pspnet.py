"""PSPNet: a deep level beside its averages over 1, 2x2, 3x3 and 6x6 regions (Zhao et al. 2017, arXiv:1612.01105)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.limits import Between, Channels
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize


class _PSPNet(AnySize, smp.PSPNet):
    pass


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    encoder_depth: Literal[3, 4, 5] = 3,
    decoder_channels: Channels = 512,
    dropout: Annotated[float, Between(0, 0.99)] = 0.2,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder of segmentation-models-pytorch.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5; only the deepest level is used.
        decoder_channels: width of the decoder.
        dropout: share of the decoder's channels that is dropped in training.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("pspnet", encoder_depth)
    network = partial(
        _PSPNet,
        encoder_depth=encoder_depth,
        psp_out_channels=decoder_channels,
        psp_dropout=dropout,
        upsampling=2**encoder_depth,
        classes=num_classes + 1,
    )
    return decoders.create(network, "pspnet", encoder, encoder_weights)
