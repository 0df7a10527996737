"""From a frame and its classes to the maps of a trained network: input sizes, scales, flips and normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from wildseg.cam.engine import input_size
from wildseg.cam.maps import EPS, normalise, resample_maps
from wildseg.cam.networks.objective import MapObjective
from wildseg.cam.params import Cam
from wildseg.encoders.clip import resize


def network_maps(
    objective: MapObjective, image: np.ndarray, classes: Sequence[int], cam: Cam, device: str
) -> np.ndarray:
    """Return one map per queried class: (K, h, w) float32 in [0, 1], on the finest grid of all scales.

    The mean over scales and flips is of maps as they are, or of each stretched; see `MapObjective.stretched`.

    Args:
        objective: trained, its networks in evaluation mode on `device`.
        image: (H, W, 3) uint8 RGB.
        classes: the K queried classes; may be none.
        cam: scales, flip and the largest side.
        device: of torch.
    """
    stride = (objective.stride, objective.stride)
    height, width = image.shape[:2]
    sizes = [input_size((height, width), stride, scale, cam.max_side) for scale in cam.scales]
    grid = max((h // stride[0], w // stride[1]) for h, w in sizes)
    if not classes:
        return np.zeros((0, *grid), np.float32)
    views = []
    for size in sizes:
        pixels = torch.from_numpy(np.stack([resize(image, size)])).permute(0, 3, 1, 2)  # a copy, which can be written
        pixels = functional.to_dtype(pixels, torch.float32, scale=True)
        pixels = functional.normalize(pixels, list(objective.norm.mean), list(objective.norm.std)).to(device)
        for flipped in (False, True) if cam.flip and objective.mirrored else (False,):
            with torch.no_grad():
                maps = objective.maps(pixels.flip(3) if flipped else pixels, classes).float()
            maps = maps.flip(2) if flipped else maps
            views.append(resample_maps(normalise(maps) if objective.stretched else maps, grid))
    mean = torch.stack(views).mean(0)
    if objective.stretched:
        return (mean if len(views) == 1 else normalise(mean)).cpu().numpy()
    return share_of_maximum(mean).cpu().numpy()


def share_of_maximum(maps: Tensor) -> Tensor:
    """Rectify each of (K, h, w) and divide it by 1e-7 + its maximum; one that is constant then becomes zero."""
    maps = maps.relu()
    high = maps.amax((1, 2), keepdim=True)
    return maps / (EPS + high) * (high > maps.amin((1, 2), keepdim=True))
