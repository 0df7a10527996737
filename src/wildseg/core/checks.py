"""What is checked of arrays that a caller hands in: images and label images."""

from __future__ import annotations

import numpy as np

from wildseg.core.errors import DataError


def check_image(image: object) -> np.ndarray:
    """Return an image (H, W, 3) uint8 RGB as it is.

    Raises:
        DataError: it is of another shape or type, such as floats in [0, 1] or with an alpha channel, or empty.
    """
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        raise DataError(f"image: expected an array (H, W, 3) of uint8, RGB, found {_found(image)}")
    if not image.size:
        raise DataError(f"image: expected at least one pixel, found {_found(image)}")
    return image


def _found(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"one of shape {value.shape} and type {value.dtype}"
    return f"a {type(value).__name__}"
