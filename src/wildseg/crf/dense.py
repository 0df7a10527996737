"""Dense CRF: every pixel sends messages to every other (Kraehenbuehl and Koltun, NeurIPS 2011), by pydensecrf.

Mean field with Potts compatibility; ``f`` are the pixel positions p and, in the second kernel, the colours I too:

    Q^0_i(c) = softmax_c(-U_i(c))
    Q^{t+1}_i(c) ~ exp(-U_i(c) + w_g (K_g Q^t)_i(c) + w_b (K_b Q^t)_i(c))
    K_g = exp(-|p_i - p_j|^2 / (2 sxy_g^2)),  K_b = exp(-|p_i - p_j|^2 / (2 sxy_b^2) - |I_i - I_j|^2 / (2 srgb^2))

Both kernels include the pixel itself and are normalised symmetrically, N^(-1/2) K N^(-1/2) with N the row sums.
pydensecrf filters on a permutohedral lattice, so its numbers differ from these sums by a few hundredths per iteration.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydensecrf.densecrf import DenseCRF2D

from wildseg.core.errors import ParamsError

if TYPE_CHECKING:
    from wildseg.crf.params import Crf

CAFFE_MEAN_BGR = (104.008, 116.669, 122.675)  # grey levels; what CLIP-ES and deeplab-pytorch subtract

# The lattice numbers its cells by 16 bits an axis. Beyond them, cells that are far apart become one, and some thousand
# times beyond, where single precision no longer tells neighbours apart, it writes outside of its memory.
LARGEST_CELL = 2**15 - 64  # less some room for neighbours, and for rounding


def marginals(unary: np.ndarray, image: np.ndarray, crf: Crf) -> np.ndarray:
    """Run the mean field.

    Args:
        unary: (K, H, W) float32 energies, K >= 1.
        image: (H, W, 3) uint8 RGB.
        crf: the parameters. A weight of 0 leaves its term out.

    Returns:
        (K, H, W) float32 probabilities, each pixel's sum 1. One class alone gets 1 everywhere.

    Raises:
        ParamsError: a kernel is too narrow for a frame of this size.
    """
    count, height, width = unary.shape
    if count == 1:
        return np.ones_like(unary, np.float32)  # nothing to decide, and pydensecrf is not made for one label
    check(height, width, crf)
    field = DenseCRF2D(width, height, count)
    field.setUnaryEnergy(np.ascontiguousarray(unary.reshape(count, -1), np.float32))
    if crf.gaussian.weight:
        field.addPairwiseGaussian(sxy=crf.gaussian.sxy, compat=crf.gaussian.weight)
    if crf.bilateral.weight:
        field.addPairwiseBilateral(
            sxy=crf.bilateral.sxy,
            srgb=crf.bilateral.srgb,
            rgbim=np.require(colours(image, crf.image_mode), np.uint8, ["C", "W"]),  # it refuses read-only ones
            compat=crf.bilateral.weight,
        )
    # Class by class in memory (it comes pixel by pixel): the reductions that follow are an order faster.
    return np.array(field.inference(crf.iterations), order="C").reshape(count, height, width)


def check(height: int, width: int, crf: Crf) -> None:
    """Raise a ParamsError that says the smallest value that works, unless all kernels fit a frame of this size."""
    place, colour = (width - 1, height - 1), (255, 255, 255)
    smoothness, appearance = crf.gaussian, crf.bilateral
    if smoothness.weight:
        _check("gaussian.sxy", smoothness.sxy, _reach(place, 2, 0), 0, (height, width))
    if appearance.weight:
        far, bright = _reach(place, 5, 0), _reach(colour, 5, 2)
        spread = bright / appearance.srgb
        _check("bilateral.srgb", appearance.srgb, bright, LARGEST_CELL / 2, (height, width))
        _check("bilateral.sxy", appearance.sxy, far, min(spread, LARGEST_CELL / 2), (height, width))


def _reach(largest: tuple[int, ...], features: int, first: int) -> float:
    """Return how far from 0 the cells of a permutohedral lattice lie, for features from 0 to `largest` and deviation 1.

    Feature k of d, from 0, is stretched by ``sqrt(2/3) (d + 1) / sqrt((k + 1) (k + 2))`` and is part of the first k + 1
    of the d + 1 coordinates with weight 1, and of the next with weight -(k + 1) (Adams et al. 2010, section 3.1).

    Args:
        largest: of some of the features, in their order.
        features: d.
        first: k of the first of them.
    """
    numbers = range(first, first + len(largest))
    stretched = [
        value * math.sqrt(2 / 3) * (features + 1) / math.sqrt((k + 1) * (k + 2))
        for k, value in zip(numbers, largest, strict=True)
    ]
    return max(sum(stretched), *((k + 1) * value for k, value in zip(numbers, stretched, strict=True)))


def _check(key: str, value: float, reach: float, taken: float, size: tuple[int, int]) -> None:
    smallest = reach / (LARGEST_CELL - taken)
    if not value >= smallest:
        rounded = math.ceil(smallest * 1000) / 1000
        raise ParamsError(
            f"crf.{key}: expected at least {rounded:g} for a frame of {size[1]}x{size[0]} pixels, found {value:g}"
        )


def colours(image: np.ndarray, mode: str) -> np.ndarray:
    """Return the colours a bilateral term compares, (H, W, 3) uint8.

    ``rgb`` is the image as it is. ``wrap_bgr_mean`` is what the published code of CLIP-ES hands over: BGR minus the
    Caffe mean, cast to uint8. The cast drops the fraction and wraps what is negative by 256 (on x86; C leaves it open,
    so it is spelt out here), which puts dark pixels next to bright ones: only for comparison with published numbers.

    Args:
        image: (H, W, 3) uint8 RGB.
        mode: ``rgb`` or ``wrap_bgr_mean``.
    """
    if mode == "rgb":
        return image
    if mode == "wrap_bgr_mean":
        centred = image[..., ::-1].astype(np.float64) - CAFFE_MEAN_BGR
        return (np.trunc(centred).astype(np.int16) % 256).astype(np.uint8)
    raise ValueError(f"image_mode: expected 'rgb' or 'wrap_bgr_mean', found {mode!r}")
