"""U-Net: an encoder, and a decoder that sees every level of it (Ronneberger et al. 2015, arXiv:1505.04597)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.limits import Channels, Length
from wildseg.encoders.cnn import build as encoders
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize


class _Unet(AnySize, smp.Unet):
    pass


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    encoder_depth: Literal[3, 4, 5] = 5,
    decoder_channels: Annotated[Sequence[Channels], Length(3, 5)] = (256, 128, 64, 32, 16),
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder of segmentation-models-pytorch.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5.
        decoder_channels: width of the decoder at each level, the deepest first; one per level.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("unet", encoder_depth)
    decoders.check_widths("unet", decoder_channels, encoder_depth)
    network = partial(
        _Unet, encoder_depth=encoder_depth, decoder_channels=tuple(decoder_channels), classes=num_classes + 1
    )
    return encoders.create(network, encoder, encoder_weights)
