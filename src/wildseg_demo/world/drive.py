"""Render the demo drives: a video of each, and a truth mask of every frame.

    python -m wildseg_demo.world.drive --video-dir data/raw/field --truth-dir data/raw/field/truth

`<name>_<index:06d>.png` is the truth of the frame of `<name>.mp4` that is decoded as number `index`, from 0.

The drives are no business of DVC's cache, since they can be rendered anywhere. They are kept where results of single
frames are, so that an experiment in a copy of the project takes them from there.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wildseg.core.files import save_bytes
from wildseg.core.id_colours import id_palette
from wildseg.core.progress import track
from wildseg.execution import children, fingerprint
from wildseg.execution.project_lock import writing
from wildseg.execution.result_store import Entry, ResultStore, key_of, versions
from wildseg_demo.world.itinerary import DRIVES, FRAMES_PER_SECOND, Leg
from wildseg_demo.world.video import open_video
from wildseg_demo.world.world import HEIGHT, WIDTH

Rendered = tuple[NDArray[np.uint8], NDArray[np.uint8]]

VIDEO = "video"  # the role of the video in what is kept; masks go by the names of their files
CODE = ("world", "itinerary", "seeds", "video", "drive")
LIBRARIES = ("av", "numpy", "opencv-python-headless", "pillow", "scipy")


def write_drive(name: str, legs: tuple[Leg, ...], video_dir: Path, truth_dir: Path, workers: int) -> int:
    """Render the legs of a drive to `<video_dir>/<name>.mp4` and `<truth_dir>/<name>/`; returns the frame count."""
    video_dir.mkdir(parents=True, exist_ok=True)
    partial = truth_dir / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    index = 0
    with open_video(video_dir / f"{name}.mp4", (WIDTH, HEIGHT), FRAMES_PER_SECOND) as append:
        for images, masks in track(_rendered(legs, workers), len(legs), f"rendering {name}"):
            for image, mask in zip(images, masks, strict=True):
                append(image)
                save_mask(mask, partial / f"{name}_{index:06d}.png")
                index += 1
    shutil.rmtree(truth_dir / name, ignore_errors=True)
    partial.replace(truth_dir / name)
    return index


def restore_or_write(
    name: str, legs: tuple[Leg, ...], video_dir: Path, truth_dir: Path, workers: int
) -> tuple[int, bool]:
    """Do as `write_drive`, from what is kept of an earlier rendering if there is any; return also whether there was."""
    store = ResultStore.of(Path(), "world")
    first, *others = (f"wildseg_demo.world.{module}" for module in CODE)
    key = key_of([name, [repr(leg) for leg in legs], fingerprint.digest(first, *others), versions(*LIBRARIES)])
    kept = store.get(key)
    if kept is None:
        frames = write_drive(name, legs, video_dir, truth_dir, workers)
        files = {path.name: path.read_bytes() for path in sorted((truth_dir / name).iterdir())}
        store.put(key, Entry(frames, {VIDEO: (video_dir / f"{name}.mp4").read_bytes(), **files}))
        return frames, False
    shutil.rmtree(truth_dir / name, ignore_errors=True)
    for role, content in kept.files.items():
        save_bytes(video_dir / f"{name}.mp4" if role == VIDEO else truth_dir / name / Path(role).name, content)
    return int(kept.record), True


def save_mask(mask: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W) uint8 ids as a palette PNG: the numbers are the ids, viewers show colours."""
    picture = Image.fromarray(mask)
    picture.putpalette(id_palette().tobytes())
    picture.save(path)


def _rendered(legs: tuple[Leg, ...], workers: int) -> Iterator[Rendered]:
    """The legs' frames in order; rendering goes on in other processes while this one encodes."""
    if workers <= 1:
        yield from map(_render, legs)
        return
    with ProcessPoolExecutor(workers, mp_context=children.context()) as pool:
        with children.without_interrupts():
            rendered = pool.map(_render, legs)
        yield from rendered


def _render(leg: Leg) -> Rendered:
    cv2.setNumThreads(1)  # the processes already use all cores
    return leg.render()


@click.command()
@click.option("--video-dir", type=click.Path(path_type=Path), required=True, help="Gets one .mp4 per drive.")
@click.option("--truth-dir", type=click.Path(path_type=Path), required=True, help="Gets one folder of masks per drive.")
@click.option("--workers", default=len(os.sched_getaffinity(0)), help="Processes that render.  [default: all cores]")
def main(video_dir: Path, truth_dir: Path, workers: int) -> None:
    """Render the field drive and the test drive, with exact truth masks."""
    with writing(Path(), "world"):
        for name, legs in DRIVES.items():
            frames, kept = restore_or_write(name, legs, video_dir, truth_dir, workers)
            click.echo(f"{name}: {frames} frames in {len(legs)} places{', from the cache' if kept else ''}")


if __name__ == "__main__":
    main()
