"""FPN: a pyramid of equally wide levels, merged at stride 4 (Kirillov et al. 2019, arXiv:1901.02446)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Channels
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize

NORMALISED = 32  # groups of channels


class _FPN(AnySize, smp.FPN):
    pass


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    encoder_depth: Literal[3, 4, 5] = 5,
    pyramid_channels: Channels = 256,
    decoder_channels: Channels = 128,
    merge: Literal["add", "cat"] = "add",
    dropout: Annotated[float, Between(0, 0.99)] = 0.2,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder of segmentation-models-pytorch.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5; the last four levels are used.
        pyramid_channels: width of the pyramid's levels.
        decoder_channels: width of the levels as they are merged, a multiple of 32.
        merge: whether levels are added or concatenated.
        dropout: share of the merged channels that is dropped in training.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("fpn", encoder_depth)
    if decoder_channels % NORMALISED:
        raise ParamsError(
            f"train.options.fpn.decoder_channels: expected a multiple of {NORMALISED}, the groups of its "
            f"normalisation; found {decoder_channels}"
        )
    network = partial(
        _FPN,
        encoder_depth=encoder_depth,
        decoder_pyramid_channels=pyramid_channels,
        decoder_segmentation_channels=decoder_channels,
        decoder_merge_policy=merge,
        decoder_dropout=dropout,
        upsampling=2 ** (encoder_depth - 3),  # from the finest of its four levels
        classes=num_classes + 1,
    )
    return decoders.create(network, "fpn", encoder, encoder_weights)
