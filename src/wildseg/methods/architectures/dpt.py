"""DPT: four levels of a vision transformer, put together as an image pyramid (Ranftl et al. 2021, arXiv:2103.13413)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.errors import ModelError, ParamsError
from wildseg.core.limits import Channels, Length
from wildseg.encoders.cnn import backbone, published
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize

COARSEST = 32  # pixels per cell of the fourth level
PATCHES = (8, 16, 32)  # from which levels of stride 4, 8, 16 and 32 are made by whole factors


class _DPT(AnySize, smp.DPT):
    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size to which an image is padded: a multiple of the coarsest level's stride."""
        return height + -height % COARSEST, width + -width % COARSEST


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    decoder_channels: Annotated[Sequence[Channels], Length(4, 4)] = (256, 512, 1024, 1024),
    fusion_channels: Channels = 256,
    readout: Literal["cat", "add", "ignore"] = "cat",
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: ``tu-`` and the name of a vision transformer of timm with patches of 8, 16 or 32 pixels.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        decoder_channels: width of each level, the finest first.
        fusion_channels: width of the levels as they are merged.
        readout: how the class token joins the patches: concatenated, added, or not at all.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    if len(decoder_channels) != 4:
        raise ParamsError(
            f"train.options.dpt.decoder_channels: expected 4 widths, one per level, found {list(decoder_channels)}"
        )
    published.check(encoder, None)
    if (patch := backbone.patch_of(encoder)) not in PATCHES:
        found = f"{encoder}, {f'with patches of {patch} pixels' if patch else 'which is none'}"
        raise ModelError(
            "train.encoder: dpt needs a vision transformer of timm with patches of 8, 16 or 32 pixels, such as "
            f"tu-vit_small_patch16_224; found {found}"
        )
    network = partial(
        _DPT,
        decoder_intermediate_channels=tuple(decoder_channels),
        decoder_fusion_channels=fusion_channels,
        decoder_readout=readout,
        classes=num_classes + 1,
    )
    return decoders.create(network, "dpt", encoder, encoder_weights)
