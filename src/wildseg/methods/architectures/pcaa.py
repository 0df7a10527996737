"""PCAA: attention to class centres of parts of the image, on a dilated backbone (Liu et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import torch

from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Length
from wildseg.encoders.cnn import backbone, published
from wildseg.encoders.cnn.build import LOADED, loaded
from wildseg.segment import decoders
from wildseg.segment.pcaa import official
from wildseg.segment.pcaa.dilation import dilate
from wildseg.segment.pcaa.network import Pcaa, Weights


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    output_stride: Literal[8, 16] = 8,
    multi_grid: Annotated[Sequence[Annotated[int, Between(1, 16)]], Length(1, 8)] = (1,),
    bins: Annotated[Sequence[Annotated[int, Between(1, 32)]], Length(1, 8)] = (4,),
    channels: Annotated[int, Between(2, 4096)] = 512,
    dropout: Annotated[float, Between(0, 0.99)] = 0.1,
    head_dropout: Annotated[float, Between(0, 0.99)] = 0.0,
    auxiliary_weight: Annotated[float, Between(0, 1000)] = 0.4,
    partial_weight: Annotated[float, Between(0, 1000)] = 1.0,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder that can be dilated, or a vision transformer whose patch is the output stride.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file, of the encoder
            or, under the authors' names, of the whole network.
        output_stride: pixels per cell of the deepest level, 8 or 16; what lies deeper is dilated instead.
        multi_grid: factors of the dilations of the blocks of a ResNet's last stage, repeated; 1, 2, 4 on ADE20K.
        bins: rows, and columns, of the bins of each attention, one after the other.
        channels: width of the attention.
        dropout: share of channels dropped in front of the class activation maps in training.
        head_dropout: share of channels dropped in front of the logits in training.
        auxiliary_weight: factor of the loss of the last level but one.
        partial_weight: factor of the loss of the partial class scores.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_stride("pcaa", output_stride, (8, 16))
    if channels % 2:
        raise ParamsError(f"train.options.pcaa.channels: expected an even number, found {channels}")
    file = Path(encoder_weights) if encoder_weights and encoder_weights.endswith(".safetensors") else None
    whole = file if file and official.is_official(file, f"{published.KEY}_weights") else None
    published.check(encoder, None)  # the ResNet-38 of methods on image labels is no encoder of a segmenter
    created = backbone.create(encoder, None if whole else encoder_weights, output_stride)
    trunk = cast("backbone.Backbone", created)  # the check above left no other
    dilate(trunk, output_stride, multi_grid, encoder)
    network = Pcaa(
        trunk,
        num_classes + 1,
        channels=channels,
        bins=[(size, size) for size in bins],
        dropout=dropout,
        head_dropout=head_dropout,
        weights=Weights(auxiliary_weight, partial_weight),
    )
    known = official.load_checkpoint(network, whole, f"{published.KEY}_weights") if whole else loaded(trunk)
    setattr(network, LOADED, known)
    return network
