"""PAN: attention from a pyramid on the deepest level, then over finer ones (Li et al. 2018, arXiv:1805.10180)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import segmentation_models_pytorch as smp
import torch

from wildseg.core.limits import Channels
from wildseg.segment import decoders
from wildseg.segment.anysize import AnySize

POOLED = 8  # cells of the deepest level that its pyramid makes one of


class _PAN(AnySize, smp.PAN):
    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size to which an image is padded: its pyramid halves the deepest level three times."""
        least = POOLED * int(self.encoder.output_stride)  # type: ignore[arg-type]
        return super().padded_size(max(height, least), max(width, least))


def build(
    num_classes: int,
    encoder: str,
    encoder_weights: str | None,
    *,
    encoder_depth: Literal[3, 4, 5] = 5,
    output_stride: Literal[16, 32] = 16,
    decoder_channels: Channels = 32,
) -> torch.nn.Module:
    """Build a network from images (B, 3, H, W) to logits (B, num_classes + 1, H, W); channel = id, 0 is background.

    Args:
        num_classes: C, without background.
        encoder: any encoder of segmentation-models-pytorch that can be dilated.
        encoder_weights: None, a published set such as ``imagenet``, or a local .safetensors file.
        encoder_depth: how often the encoder halves the image, 3 to 5.
        output_stride: pixels per cell of the deepest level, 16 or 32; what lies deeper is dilated instead.
        decoder_channels: width of the decoder.

    Raises:
        ParamsError: the options contradict each other.
        ModelError: encoder or weights do not exist or do not fit.
    """
    decoders.check_depth("pan", encoder_depth)
    decoders.check_stride("pan", output_stride, (16, 32))
    network = partial(
        _PAN,
        encoder_depth=encoder_depth,
        encoder_output_stride=output_stride,
        decoder_channels=decoder_channels,
        classes=num_classes + 1,
    )
    return decoders.create(network, "pan", encoder, encoder_weights)
