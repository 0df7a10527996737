"""LinkNet: a light decoder that adds the encoder's levels (Chaurasia and Culurciello 2017, arXiv:1707.03718)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize


class _Linknet(AnySize, smp.Linknet):
    pass


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    encoder_depth: Literal[3, 4, 5] = 5,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder of segmentation-models-pytorch but ``mit_b*``, which have no level of stride 2.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("linknet", encoder_depth)
    network = partial(_Linknet, encoder_depth=encoder_depth, classes=num_classes + 1)
    return decoders.create(network, "linknet", encoder, encoder_weights)
