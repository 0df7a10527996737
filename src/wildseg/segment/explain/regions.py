"""Sets of target pixels, and a segmentation network as a classifier of such a set.

Seg-Grad-CAM (Vinogradova et al. 2020): Grad-CAM explains a scalar, while a segmenter has a logit per pixel; so its
logits of class c are summed over a set of pixels M, ``y_c = sum_(i,j) M_ij z_c(i,j)``. M is one pixel, a box, the
pixels predicted as c, or the whole frame; its weights may lie between 0 and 1. Dividing the sum by the size of M
changes no map that is stretched to [0, 1].
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from wildseg.core.errors import WildsegError


class RegionSum(nn.Module):
    """A segmentation network followed by the sum over M: from images (1, 3, H, W) to logits (1, C).

    The network is left unchanged.
    """

    def __init__(self, network: nn.Module, region: Tensor) -> None:
        """Take a network from (1, 3, H, W) to logits (1, C, H, W), and M: (H, W) in [0, 1]."""
        super().__init__()
        self.network = network
        self.region = region

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (1, C): of each channel, the sum over all pixels, weighted by M."""
        return (self.network(pixels) * self.region).sum((2, 3))


def everywhere(shape: tuple[int, int]) -> np.ndarray:
    """Return M of all pixels: (H, W) float32 of ones."""
    return np.ones(shape, np.float32)


def predicted_as(ids: np.ndarray, value: int) -> np.ndarray:
    """Return M of the pixels whose id is `value`, (H, W) float32 of 0 and 1; ids: (H, W)."""
    return (ids == value).astype(np.float32)


def pixel(shape: tuple[int, int], x: int, y: int) -> np.ndarray:
    """Return M of one pixel, (H, W) float32; x counts columns from the left, y rows from the top, both from 0.

    Raises:
        WildsegError: it lies outside the frame.
    """
    height, width = shape
    if not (0 <= x < width and 0 <= y < height):
        raise WildsegError(
            f"--pixel: expected x from 0 to {width - 1} and y from 0 to {height - 1} in a frame of {width}x{height}; "
            f"found {x},{y}"
        )
    return box(shape, x, y, x + 1, y + 1)


def box(shape: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """Return M of the pixels with x0 <= x < x1 and y0 <= y < y1: (H, W) float32 of 0 and 1.

    Raises:
        WildsegError: the box is empty, or exceeds the frame.
    """
    height, width = shape
    if x0 >= x1 or y0 >= y1:
        raise WildsegError(f"--region: expected x0,y0,x1,y1 with x0 < x1 and y0 < y1; found {x0},{y0},{x1},{y1}")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise WildsegError(
            f"--region: expected a box inside the frame, which is 0,0,{width},{height}; found {x0},{y0},{x1},{y1}"
        )
    region = np.zeros(shape, np.float32)
    region[y0:y1, x0:x1] = 1
    return region
