"""Pixel-adaptive mask refinement (PAMR, Araslanov and Roth 2020, section 4.2): maps averaged over similar neighbours.

The neighbours of a pixel are the 8 around it at each of several distances (dilations). Their weights, one softmax over
all of them, compare colours with the pixel's in units of the local contrast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

CONTRAST = 0.1  # share of the local standard deviation that a difference of colours is measured in
EPS = 1e-8


def refine(maps: np.ndarray, image: np.ndarray, steps: int, dilations: Sequence[int]) -> np.ndarray:
    """Return maps (K, h, w) float32, averaged `steps` times over neighbours; each stays within its range.

    Args:
        maps: (K, h, w).
        image: (h, w, 3) on the same grid, in any unit.
        steps: how often.
        dilations: distances of neighbours in pixels.
    """
    weights = kernel(image, dilations)
    maps = maps.astype(np.float32)
    for _ in range(steps):
        following = np.zeros_like(maps)
        for weight, neighbour in zip(weights, _shifted(maps, dilations), strict=True):
            following += weight * neighbour
        maps = following
    return maps


def kernel(image: np.ndarray, dilations: Sequence[int]) -> np.ndarray:
    """Return the weights of the neighbours of each pixel, (8 * dilations, h, w) float32; their sum is 1.

    ``softmax_j(-mean_ch(|I_i - I_j| / (.1 sigma_i)))``; sigma is the standard deviation of a channel over the 3x3
    neighbourhoods of all dilations, the pixel itself counted in each.

    Args:
        image: (h, w, 3).
        dilations: distances in pixels.
    """
    channels = image.transpose(2, 0, 1).astype(np.float32)  # (3, h, w)
    neighbours = np.stack(list(_shifted(channels, dilations)))  # (8 D, 3, h, w)
    around = np.concatenate([neighbours, np.repeat(channels[None], len(dilations), 0)])
    sigma = around.std(0, ddof=1)
    distance = (np.abs(neighbours - channels) / (EPS + CONTRAST * sigma)).mean(1)
    powers = np.exp(distance.min(0) - distance)
    return powers / powers.sum(0)


def _shifted(values: np.ndarray, dilations: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield (C, h, w) as seen from each neighbour in turn; beyond the border the nearest pixel is repeated."""
    margin = max(dilations)
    height, width = values.shape[1:]
    padded = np.pad(values, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    for dilation in dilations:
        for down in (-dilation, 0, dilation):
            for right in (-dilation, 0, dilation):
                if down or right:
                    top, left = margin + down, margin + right
                    yield padded[:, top : top + height, left : left + width]
