"""Labels of tiles, taken from the truth: what a linear head on frozen features learns from them, grid by grid.

A tile has the classes that are on at least 2 % of its pixels; masks are read by nothing that learns. Features are those
of the strides 8, 16 and 32 of EfficientNet-Lite0 with its ImageNet weights, each of unit length, on the cells of stride
16, for frames of 512 pixels. The mean over a tile's cells is classified by one linear layer: binary cross entropy with
weights of positives from 0.2 to 10, 200 steps of Adam over all tiles at once, weight decay of the weights alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cam.networks.bags import overlap, positive_weights
from wildseg.cam.tiles import tile_weights
from wildseg.core.maps import ids_of_maps
from wildseg.encoders.clip import resize
from wildseg.encoders.cnn import backbone
from wildseg.labels.tiles import crop
from wildseg.metrics.levels import classes_in

GRIDS = ((1, 1), (2, 2), (3, 4))
PRESENT = 0.02  # share of a tile's pixels from which a class is in it
STRIDES = (8, 16, 32)
STRIDE = 16  # of the cells
LONG_SIDE = 512  # of a frame, in pixels
STEPS, LR, DECAY = 200, 0.05, 1e-3


class Counted(Protocol):
    """A measure of predictions."""

    def text(self) -> str:
        """Return it with its interval."""


class Measured(Protocol):
    """What is needed of a data set with truth; see `benchmarks.photographs.Protocol`."""

    artifacts: Artifacts

    def frames(self, split: str) -> list[Frame]:
        """Return the frames of a split."""

    def truth(self, frame: Frame) -> np.ndarray:
        """Return the truth of a frame: (H, W) uint8 ids."""

    def count(self, split: str, predict: Callable[[Frame], np.ndarray]) -> Counted:
        """Compare predictions, (H, W) ids, with the truth."""


def labels_of_tiles(truth: np.ndarray, grid: tuple[int, int], num_classes: int) -> np.ndarray:
    """Return which classes are in each tile, (r, c, K) bool, by the truth (H, W) of a frame."""
    found = [classes_in(crop(truth, i, j, grid), num_classes, PRESENT)[0] for i, j in np.ndindex(*grid)]
    return np.stack(found).reshape(*grid, num_classes)


class FrozenFeatures:
    """Features (472, h, w) of an encoder that is not trained: of three strides, each of unit length."""

    def __init__(self, encoder: str, weights: str) -> None:
        """Load the encoder."""
        self.network = backbone.create(encoder, weights, max(STRIDES)).eval()

    @torch.no_grad()
    def of(self, image: np.ndarray) -> Tensor:
        """Return the features of an image (H, W, 3) uint8, on cells of 16 pixels of a frame of 512."""
        scale = LONG_SIDE / max(image.shape[:2])
        grid = tuple(max(1, round(side * scale / STRIDE)) for side in image.shape[:2])
        pixels = torch.from_numpy(resize(image, (grid[0] * STRIDE, grid[1] * STRIDE)).copy()).permute(2, 0, 1)[None]
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (self.network.norm.mean, self.network.norm.std))
        stages = self.network((pixels / 255 - mean) / std)
        chosen = [stages[self.network.strides.index(stride)] for stride in STRIDES]
        same = [F.interpolate(one, grid, mode="bilinear", align_corners=False) for one in chosen]
        return torch.cat([F.normalize(one, dim=1) for one in same], 1)[0]


def fit(vectors: Tensor, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return weight (K, D) and bias (K,) of a linear head.

    Args:
        vectors: (N * r * c, D), of the tiles of N frames row by row.
        labels: (N, r, c, K) bool.
    """
    wanted = torch.from_numpy(labels.reshape(-1, labels.shape[-1]).astype(np.float32))
    weight = torch.zeros(wanted.shape[1], vectors.shape[1], requires_grad=True)
    bias = torch.zeros(wanted.shape[1], requires_grad=True)
    positive = torch.from_numpy(positive_weights(labels))
    optimiser = torch.optim.Adam([{"params": [weight], "weight_decay": DECAY}, {"params": [bias]}], LR)
    for _ in range(STEPS):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(vectors @ weight.T + bias, wanted, pos_weight=positive).backward()
        optimiser.step()
    return weight.detach(), bias.detach()


def tile_means(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the mean of features (D, h, w) over the cells of each tile: (r * c, D)."""
    whole = torch.tensor([[0.0, 1.0]])
    rows, columns = (overlap(whole, side, number)[0] for side, number in zip(features.shape[1:], grid, strict=True))
    sums = torch.einsum("ih,jw,dhw->ijd", rows, columns, features)
    return sums.flatten(0, 1) / (rows.sum(1)[:, None] * columns.sum(1)).reshape(-1, 1)


def rows(data: Measured, num_classes: int, encoder: str, weights: str) -> Iterator[tuple[str, ...]]:
    """Yield three rows for each grid: maps of the frame's classes, cut to the tiles, and of all classes."""
    network = FrozenFeatures(encoder, weights)
    frames = data.frames("train") + data.frames("test")
    features = {frame.name: network.of(data.artifacts.load_image(frame.name)).half() for frame in frames}
    for grid in GRIDS:
        labels = {frame.name: labels_of_tiles(data.truth(frame), grid, num_classes) for frame in frames}
        trained = [frame.name for frame in data.frames("train")]
        vectors = torch.cat([tile_means(features[name].float(), grid) for name in trained])
        weight, bias = fit(vectors, np.stack([labels[name] for name in trained]))

        def ids(frame: Frame, classes: list[int], cut: bool) -> np.ndarray:
            own = features[frame.name].float()
            logits = torch.einsum("kd,dhw->khw", weight, own) + bias[:, None, None]  # noqa: B023
            maps = logits.sigmoid().numpy()[classes]
            if cut:
                maps = maps * tile_weights(labels[frame.name], classes, own.shape[1:])  # noqa: B023
            shape = data.truth(frame).shape
            return ids_of_maps(np.array(classes), maps, (shape[0], shape[1]), background=False)

        def of_frame(frame: Frame, cut: bool) -> np.ndarray:
            present = np.flatnonzero(labels[frame.name].any((0, 1))).tolist()  # noqa: B023
            return ids(frame, present or [*range(num_classes)], cut)

        name = f"linear head, {grid[0]}x{grid[1]} tiles"
        for what, cut in (("", False), (", maps cut to tiles", True)):
            found = [
                data.count(split, lambda frame, cut=cut: of_frame(frame, cut)).text() for split in ("train", "test")
            ]
            yield f"{name}{what}", found[0], "", found[1], ""
        unseen = data.count("test", lambda frame: ids(frame, [*range(num_classes)], cut=False)).text()
        yield f"{name}, all classes allowed", "", "", unseen, ""
