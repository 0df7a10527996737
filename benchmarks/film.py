"""Videos of any length made of the demo drive, and settings with which every frame of them is a key frame."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.project import Project

RATE = 5  # frames a second, as in the drive
EVERY_FRAME = {
    "extract.source": "data/film",
    "extract.fps": None,
    "extract.method": "uniform",
    "extract.options.uniform.every_s": 0.001,
    "extract.duplicate_bits": None,
    "extract.held_out": [],
}


def drive(project: Project, size: tuple[int, int]) -> list[np.ndarray]:
    """Return the frames of the demo drive in `size` (width, height): (H, W, 3) uint8 RGB each."""
    video = project.artifacts.root / project.params.extract.source / "drive.mp4"
    with av.open(str(video)) as container:
        decoded = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in decoded]


def write(path: Path, images: Sequence[np.ndarray], numbers: range) -> None:
    """Write a video of the frames `numbers` of an endless drive: where it ends it starts again, a little darker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for place, number in enumerate(numbers):
            turn, index = divmod(number, len(images))
            frame = av.VideoFrame.from_ndarray((images[index] * 0.95**turn).astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = place, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
