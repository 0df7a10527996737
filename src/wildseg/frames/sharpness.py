"""How sharp a frame is: the variance of its Laplacian (J. L. Pech-Pacheco et al., "Diatom autofocusing", ICPR 2000)."""

from __future__ import annotations

import cv2
import numpy as np


def sharpness(grey: np.ndarray) -> float:
    """Return the variance over all pixels of the 4-neighbour Laplacian, in squared grey levels; (H, W) uint8.

    Blur and low resolution lower it, noise raises it: compare only frames of one camera and size.
    """
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
