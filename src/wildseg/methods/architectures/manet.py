"""MA-Net: a U-Net with attention over positions in its centre and over channels in its skips (Fan et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.limits import Channels, Length
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize


class _MAnet(AnySize, smp.MAnet):
    pass


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    encoder_depth: Literal[3, 4, 5] = 5,
    decoder_channels: Annotated[Sequence[Channels], Length(3, 5)] = (256, 128, 64, 32, 16),
    attention_channels: Channels = 64,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder of segmentation-models-pytorch.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5.
        decoder_channels: width of the decoder at each level, the deepest first; one per level.
        attention_channels: width of queries and keys of the attention over positions.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("manet", encoder_depth)
    decoders.check_widths("manet", decoder_channels, encoder_depth)
    network = partial(
        _MAnet,
        encoder_depth=encoder_depth,
        decoder_channels=tuple(decoder_channels),
        decoder_pab_channels=attention_channels,
        classes=num_classes + 1,
    )
    return decoders.create(network, "manet", encoder, encoder_weights)
