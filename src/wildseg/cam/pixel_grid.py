"""Maps and their image on one grid of pixels, finer than the patches of a network and coarser than the frame."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from wildseg.cam.maps import resample_maps


def on_pixels(maps: np.ndarray, image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return maps (K, h', w') float32, resampled bilinearly, and their image (h', w', 3) uint8, by a box filter.

    The shorter side of the grid has `side` cells, fewer where the image has fewer pixels, and at least those of `maps`.

    Args:
        maps: (K, h, w).
        image: (H, W, 3) uint8.
        side: cells of the shorter side.
    """
    scale = min(1.0, side / min(image.shape[:2]))
    pixels = [max(cells, round(length * scale)) for cells, length in zip(maps.shape[1:], image.shape[:2], strict=True)]
    height, width = pixels
    fine = resample_maps(torch.from_numpy(np.ascontiguousarray(maps, np.float32)), (height, width)).numpy()
    return fine, np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
