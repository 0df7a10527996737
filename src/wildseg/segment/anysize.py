"""Networks that halve the image a number of times, made to take images of any height and width."""

from __future__ import annotations

import torch
from torch.nn import functional


class AnySize:
    """Mixed into a network of segmentation-models-pytorch: pads to a multiple of its stride and crops back.

    A mixin rather than a wrapper, so that the weights keep the names that the bare network gives them.
    """

    encoder: torch.nn.Module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, channels, H, W) of normalised images (B, 3, H, W), for any H and W."""
        height, width = images.shape[-2:]
        bottom, right = self.padded_size(height, width)
        # The image's own edge is repeated, below and to the right: a black border would look like an object.
        padded = functional.pad(images, (0, right - width, 0, bottom - height), mode="replicate")
        return super().forward(padded)[..., :height, :width]  # type: ignore[misc]

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) to which an image is padded, and which the grid of every layer covers."""
        stride = int(self.encoder.output_stride)  # type: ignore[arg-type]
        return height + -height % stride, width + -width % stride
