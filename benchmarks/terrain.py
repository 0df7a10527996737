"""Map methods on real off-road photographs with truth, such as YCOR, split by blocks of consecutive photographs.

    python -m benchmarks.terrain FOLDER

FOLDER holds pairs `<id>.jpg` and `<id>.png`, a palette or RGB picture in the colours below. Of nine blocks of ids every
third is tested on: photographs of neighbouring ids may show the same place, so they are never split at random. YCOR,
the Yamaha-CMU Off-Road data set (CC BY 4.0): Maturana, Chou, Uenoyama and Scherer, FSR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import leaderboard
from benchmarks.photographs import Photographs
from wildseg.artifacts.frames import Frame
from wildseg.core.tables import save_table
from wildseg.frames.sources import find_sources

CLASSES = {
    "sky": ["sky"],
    "rough_trail": ["rough dirt trail"],
    "smooth_trail": ["smooth gravel trail"],
    "grass": ["short grass"],
    "high_vegetation": ["trees and tall bushes"],
    "low_vegetation": ["low bushes", "tall grass"],
    "obstacle": ["obstacle", "post", "rock"],
    "puddle": ["puddle"],
}
COLOURS = {
    (255, 255, 255): "ignore",
    (1, 88, 255): "sky",
    (156, 76, 30): "rough_trail",
    (178, 176, 153): "smooth_trail",
    (128, 255, 0): "grass",
    (40, 80, 0): "high_vegetation",
    (0, 160, 0): "low_vegetation",
    (255, 0, 0): "obstacle",
    (255, 0, 128): "puddle",
}
BLOCKS = 9


def prepare(folder: Path) -> Photographs:
    """Return the data set that lies in a folder."""
    if not any(folder.glob("*.jpg")):
        raise SystemExit(f"{folder}: expected photographs <id>.jpg with masks <id>.png, found none")
    return Photographs("terrain", CLASSES, partial(_sources, folder), _is_test, 1)


def _sources(folder: Path, photos: Path, truth: Path) -> None:
    masks = truth / photos.name
    masks.mkdir()
    for photo in folder.glob("*.jpg"):
        (photos / photo.name).symlink_to(photo)
    (source,) = find_sources(photos)  # the stage numbers photos in its order
    for index, photo in enumerate(source.paths):
        (masks / f"{index}.png").symlink_to((folder / photo.name).with_suffix(".png"))
    rows = [(name, *map(str, colour)) for colour, name in COLOURS.items()]
    save_table(masks / "classes.csv", ("name", "r", "g", "b"), rows)


def _is_test(frames: Sequence[Frame]) -> np.ndarray:
    return np.arange(len(frames)) * BLOCKS // len(frames) % 3 == 1


if __name__ == "__main__":
    leaderboard.main(prepare, __doc__ or "")
