"""A training step's images, regions and texts. A batch depends on (seed, step) alone, so that training can resume."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor

from wildseg_demo.tiny_clip.captions import sentence
from wildseg_demo.tiny_clip.crops import draw_crop
from wildseg_demo.tiny_clip.dataset import CLASSES, GRID_COLUMNS, GRID_ROWS, Frames
from wildseg_demo.tiny_clip.regions import absent, cell_masks, visible
from wildseg_demo.world.surfaces import Surface

_CROP = 12  # grid cells; crops this small make most steps cheap
_CAPTIONS = 16  # regions of half a batch that get a caption of their own
_TOLD_ONLY_IN_PART = 0.4  # share of captions that leave something visible unmentioned, as people do


class Batch(NamedTuple):
    """Inputs of one step: B crops of R boxes each, T = CLASSES + captions texts.

    Attributes:
        images: (B, 3, H, W) float32, normalised as CLIP's are.
        corners: B (row, column) of the crops on the full grid.
        inside: (B, R, h * w) bool.
        visible: (B * R, CLASSES) bool.
        absent: (B * R, CLASSES) bool.
        texts: T sentences; the first CLASSES are about one surface each, in order.
        named: (T, CLASSES) bool.
    """

    images: Tensor
    corners: list[tuple[int, int]]
    inside: Tensor
    visible: Tensor
    absent: Tensor
    texts: list[str]
    named: Tensor


def normalise(images: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 RGB to (N, 3, H, W) float32 with CLIP's mean and standard deviation."""
    scaled = torch.from_numpy(images.astype(np.float32) / 255).permute(0, 3, 1, 2)
    return (scaled - torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1)) / torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1)


def make_batch(frames: Frames, crops: int, boxes: int, full_view: bool, rng: np.random.Generator) -> Batch:
    """Draw a batch.

    Args:
        frames: to draw from.
        crops: per batch, at the small size; a batch of full views holds about as many tokens.
        boxes: per small crop; full views get three times as many.
        full_view: whether this batch shows whole frames.
        rng: decides everything.

    Returns:
        The batch.
    """
    shape = (_CROP, _CROP)
    if full_view:
        shape, crops, boxes = (GRID_ROWS, GRID_COLUMNS), crops * _CROP**2 // (GRID_ROWS * GRID_COLUMNS), 3 * boxes
    drawn = [draw_crop(frames, shape, boxes, rng) for _ in range(max(crops, 2))]
    coverage = np.concatenate([crop.regions.coverage for crop in drawn])  # (B * R, CLASSES)
    texts, named = _texts(coverage, rng)
    return Batch(
        images=normalise(np.stack([crop.image for crop in drawn])),
        corners=[crop.corner for crop in drawn],
        inside=torch.from_numpy(cell_masks(np.stack([crop.regions.boxes for crop in drawn]), *shape)),
        visible=torch.from_numpy(visible(coverage)),
        absent=torch.from_numpy(absent(coverage)),
        texts=texts,
        named=torch.from_numpy(named),
    )


def _texts(coverage: NDArray[np.float32], rng: np.random.Generator) -> tuple[list[str], NDArray[np.bool_]]:
    """One sentence per surface, then captions of some regions; and which surfaces each of them names."""
    subjects = [[surface] for surface in Surface]
    for region in rng.choice(len(coverage), min(_CAPTIONS, len(coverage)), replace=False):
        subjects.append(_subject(coverage[region], rng))
    named = np.zeros((len(subjects), CLASSES), bool)
    for row, surfaces in zip(named, subjects, strict=True):
        row[[surface - 1 for surface in surfaces]] = True
    return [sentence(surfaces, rng) for surfaces in subjects], named


def _subject(coverage: NDArray[np.float32], rng: np.random.Generator) -> list[Surface]:
    """What a caption of this region is about: what is visible in it, in any order, some of it left out."""
    seen = np.flatnonzero(visible(coverage))
    if not seen.size:
        return [Surface(int(coverage.argmax()) + 1)]
    seen = rng.permutation(seen)
    if len(seen) > 1 and rng.random() < _TOLD_ONLY_IN_PART:
        seen = seen[: int(rng.integers(1, len(seen)))]
    return [Surface(int(index) + 1) for index in seen]
