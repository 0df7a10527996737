"""A network of a few hundred weights with everything that makes training hard to repeat: normalisation and dropout."""

from collections.abc import Iterator

import numpy as np
import torch

COLOURS = np.array([[0, 0, 0], [220, 30, 30], [30, 200, 40], [40, 40, 210]], np.uint8)


def tiny(num_ids: int = 4, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.2),
        torch.nn.Conv2d(8, num_ids, 1),
    )


def stripes(seed: int, height: int = 12, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of coloured stripes and its mask of ids 1 to 3."""
    mask = 1 + (np.arange(width) // 4 + seed) % 3
    mask = np.broadcast_to(mask, (height, width)).astype(np.uint8)
    noise = np.random.default_rng(seed).integers(0, 20, (height, width, 3))
    return (COLOURS[mask] + noise).astype(np.uint8), mask


def batches(start: int, stop: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the batches of the steps `start` to `stop`: two images of stripes each."""
    for step in range(start, stop):
        images, masks = zip(*(stripes(2 * step + k) for k in range(2)), strict=True)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 128 - 1
        yield pixels, torch.from_numpy(np.stack(masks)).long()
