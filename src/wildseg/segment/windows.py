"""Sliding windows: the logits of an image from overlapping parts of it, averaged where parts overlap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from wildseg.core.errors import ParamsError


@dataclass(frozen=True)
class Window:
    """A square that slides over an image.

    Attributes:
        size: of a side, in pixels.
        overlap: the share of a side that neighbours have in common, 0 to below 1.
    """

    size: int
    overlap: float = 0.25

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            ParamsError: no pixel, or windows that never advance.
        """
        if self.size < 1 or not 0 <= self.overlap < 1:
            raise ParamsError(f"window: expected at least 1 pixel and an overlap from 0 to below 1; "
                              f"found {self.size} and {self.overlap}")  # fmt: skip

    def starts(self, length: int) -> list[int]:
        """Return the first pixel of each window along a side of `length` pixels; the last window ends with the side."""
        if length <= self.size:
            return [0]
        step = max(1, round(self.size * (1 - self.overlap)))
        return [*range(0, length - self.size, step), length - self.size]


def mean_logits(network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, window: Window) -> torch.Tensor:
    """Return logits (B, C, H, W) float32 of images (B, 3, H, W): the mean over all windows that cover a pixel.

    Images that fit into the window are one window.
    """
    height, width = images.shape[-2:]
    total = covered = torch.zeros((), device=images.device)
    for top in window.starts(height):
        for left in window.starts(width):
            part = (..., slice(top, top + window.size), slice(left, left + window.size))
            logits = network(images[part].contiguous(memory_format=torch.channels_last)).float()
            if not total.ndim:
                total = logits.new_zeros((*logits.shape[:2], height, width))
                covered = logits.new_zeros((height, width))
            total[part] += logits
            covered[part] += 1
    return total / covered
