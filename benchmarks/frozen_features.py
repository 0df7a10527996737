"""Features of an encoder that is not trained: EfficientNet-Lite0 with its ImageNet weights, strides 8, 16 and 32.

Each stride's features have unit length, and all lie on the cells of stride 16 of a frame of 512 pixels.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.encoders.clip import resize
from wildseg.encoders.cnn import backbone

STRIDES = (8, 16, 32)
STRIDE = 16  # of the cells
LONG_SIDE = 512  # of a frame, in pixels


class FrozenFeatures:
    """Features (472, h, w) of three strides.

    Attributes:
        seconds: of the processor, that the forward pass of each frame took which was not on disk.
    """

    def __init__(self, encoder: str, weights: str) -> None:
        """Load the encoder."""
        self.encoder = (encoder, weights)
        self.network = backbone.create(encoder, weights, max(STRIDES)).eval()
        self.seconds: list[float] = []

    @torch.no_grad()
    def of(self, image: np.ndarray) -> Tensor:
        """Return the features of an image (H, W, 3) uint8, on cells of 16 pixels of a frame of 512."""
        start = time.process_time()
        scale = LONG_SIDE / max(image.shape[:2])
        grid = tuple(max(1, round(side * scale / STRIDE)) for side in image.shape[:2])
        pixels = torch.from_numpy(resize(image, (grid[0] * STRIDE, grid[1] * STRIDE)).copy()).permute(2, 0, 1)[None]
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (self.network.norm.mean, self.network.norm.std))
        stages = self.network((pixels / 255 - mean) / std)
        chosen = [stages[self.network.strides.index(stride)] for stride in STRIDES]
        same = [F.interpolate(one, grid, mode="bilinear", align_corners=False) for one in chosen]
        found = torch.cat([F.normalize(one, dim=1) for one in same], 1)[0]
        self.seconds.append(time.process_time() - start)
        return found

    def cached(self, names: Sequence[str], load: Callable[[str], np.ndarray], folder: Path) -> dict[str, np.ndarray]:
        """Return features of frames in half precision, (472, h, w) by name, from `folder` where they lie there.

        A file's name has the digest of the frame and of the encoder: other data or another encoder find none of these.
        """
        folder.mkdir(parents=True, exist_ok=True)
        found = {}
        for name in names:
            image = load(name)
            content = repr((self.encoder, image.shape, STRIDES, STRIDE, LONG_SIDE)).encode() + image.tobytes()
            path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.npy"
            if not path.exists():
                partial = path.with_suffix(".partial.npy")
                np.save(partial, self.of(image).half().numpy())
                partial.replace(path)
            found[name] = np.load(path, allow_pickle=False, mmap_mode="r")
        return found
