"""Dense CRF: every pixel sends messages to every other (Kraehenbuehl and Koltun, NeurIPS 2011), by pydensecrf.

Mean field with Potts compatibility; ``f`` are the pixel positions p and, in the second kernel, the colours I too:

    Q^0_i(c) = softmax_c(-U_i(c))
    Q^{t+1}_i(c) ~ exp(-U_i(c) + w_g (K_g Q^t)_i(c) + w_b (K_b Q^t)_i(c))
    K_g = exp(-|p_i - p_j|^2 / (2 sxy_g^2)),  K_b = exp(-|p_i - p_j|^2 / (2 sxy_b^2) - |I_i - I_j|^2 / (2 srgb^2))

Both kernels include the pixel itself and are normalised symmetrically, N^(-1/2) K N^(-1/2) with N the row sums.
pydensecrf filters on a permutohedral lattice, so its numbers differ from these sums by a few hundredths per iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydensecrf.densecrf import DenseCRF2D

CAFFE_MEAN_BGR = (104.008, 116.669, 122.675)  # grey levels; what CLIP-ES and deeplab-pytorch subtract


@dataclass(frozen=True)
class DenseCrf:
    """The parameters of a dense CRF: `*_sxy` in pixels, `bilateral_srgb` in grey levels of 0..255.

    A weight of 0 leaves its term out. `image_mode` names the colours that the bilateral term compares: see `colours`.
    """

    iterations: int
    gaussian_weight: float
    gaussian_sxy: float
    bilateral_weight: float
    bilateral_sxy: float
    bilateral_srgb: float
    image_mode: str = "rgb"

    def marginals(self, unary: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Run the mean field.

        Args:
            unary: (K, H, W) float32 energies, K >= 1.
            image: (H, W, 3) uint8 RGB.

        Returns:
            (K, H, W) float32 probabilities, each pixel's sum 1. One class alone gets 1 everywhere.
        """
        count, height, width = unary.shape
        if count == 1:
            return np.ones_like(unary, np.float32)  # nothing to decide, and pydensecrf is not made for one label
        crf = DenseCRF2D(width, height, count)
        crf.setUnaryEnergy(np.ascontiguousarray(unary.reshape(count, -1), np.float32))
        if self.gaussian_weight:
            crf.addPairwiseGaussian(sxy=self.gaussian_sxy, compat=self.gaussian_weight)
        if self.bilateral_weight:
            crf.addPairwiseBilateral(
                sxy=self.bilateral_sxy,
                srgb=self.bilateral_srgb,
                rgbim=np.require(colours(image, self.image_mode), np.uint8, ["C", "W"]),  # it refuses read-only ones
                compat=self.bilateral_weight,
            )
        # Class by class in memory (it comes pixel by pixel): the reductions that follow are an order faster.
        return np.array(crf.inference(self.iterations), order="C").reshape(count, height, width)


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
