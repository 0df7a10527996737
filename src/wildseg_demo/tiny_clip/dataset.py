"""Rendered frames with their truth on disk, and random crops of them for training."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wildseg.core.progress import track
from wildseg.execution import children
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.world import HEIGHT, WIDTH, build_world

PATCH = 8  # pixels; side of the square that becomes one token
GRID_ROWS, GRID_COLUMNS = HEIGHT // PATCH, WIDTH // PATCH
CLASSES = len(Surface)
_FARTHEST = 45.0  # metres along the path at which a training frame may be taken


@dataclass(frozen=True)
class Frames:
    """Images (N, HEIGHT, WIDTH, 3) uint8 RGB and truth masks (N, HEIGHT, WIDTH) uint8 surface ids."""

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return N."""
        return len(self.images)


def load_or_render(folder: Path, seeds: range, frames_per_world: int, workers: int) -> Frames:
    """Frames at random places in the worlds of `seeds`; rendered once, then read from `folder`."""
    paths = [folder / f"{part}-{seeds.start}-{len(seeds)}x{frames_per_world}.npy" for part in ("images", "masks")]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        _render(paths, seeds, frames_per_world, workers)
    images, masks = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    return Frames(images, masks)


def _render(paths: list[Path], seeds: range, frames_per_world: int, workers: int) -> None:
    count = len(seeds) * frames_per_world
    unfinished = [path.with_suffix(".partial") for path in paths]
    shapes = [(count, HEIGHT, WIDTH, 3), (count, HEIGHT, WIDTH)]
    images, masks = (
        np.lib.format.open_memmap(path, "w+", np.uint8, shape) for path, shape in zip(unfinished, shapes, strict=True)
    )
    with ProcessPoolExecutor(workers, mp_context=children.context()) as pool:
        worlds = pool.map(_visit, seeds, [frames_per_world] * len(seeds), chunksize=4)
        for index, (seen, truth) in enumerate(track(worlds, len(seeds), "rendering worlds")):
            places = slice(index * frames_per_world, (index + 1) * frames_per_world)
            images[places], masks[places] = seen, truth
    images.flush()
    masks.flush()
    for partial, path in zip(unfinished, paths, strict=True):
        partial.replace(path)


def _visit(seed: int, frames: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Frames of one world, in a worker process."""
    cv2.setNumThreads(1)
    world = build_world(seed)
    places = np.random.default_rng([seed, 99]).uniform(0.5, _FARTHEST, frames)
    images, masks = zip(*(world.render(float(place)) for place in places), strict=True)
    return np.stack(images), np.stack(masks)
