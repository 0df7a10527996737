"""U-Net++: a U-Net whose skips are themselves nested decoders (Zhou et al. 2018, arXiv:1807.10165)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.limits import Channels, Length
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize


class _UnetPlusPlus(AnySize, smp.UnetPlusPlus):
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
        encoder: any encoder of segmentation-models-pytorch but ``mit_b*``, which have no level of stride 2.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5.
        decoder_channels: width of the decoder at each level, the deepest first; one per level.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("unetplusplus", encoder_depth)
    decoders.check_widths("unetplusplus", decoder_channels, encoder_depth)
    network = partial(
        _UnetPlusPlus, encoder_depth=encoder_depth, decoder_channels=tuple(decoder_channels), classes=num_classes + 1
    )
    return decoders.create(network, "unetplusplus", encoder, encoder_weights)
