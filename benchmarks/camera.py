"""A video as a camera records it, 1920x1080 at 30 frames a second, made of the demo drive and cached.

The drive's frames are enlarged and blended into one another, and a fine texture moves over them, so that the encoder
finds edges, motion and noise to spend bits on: some 20 Mbit/s, as action cameras do.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.project import ROOT

WIDTH, HEIGHT, RATE, SECONDS = 1920, 1080, 30, 8
EACH = 6  # frames between two of the drive's, which has five a second
OPTIONS = {"preset": "veryfast", "crf": "23", "g": str(2 * RATE)}


def video() -> Path:
    """Return the video's path; it is encoded the first time, which takes a minute or less."""
    path = ROOT / ".wildseg" / "benchmarks" / f"camera_{WIDTH}x{HEIGHT}_{SECONDS}s.mp4"
    if not path.exists():
        print(f"benchmarks: making {path.name}, once", file=sys.stderr, flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        _encode(partial)
        partial.replace(path)
    return path


def _encode(path: Path) -> None:
    drive = _drive(RATE * SECONDS // EACH + 2)
    texture = _texture()
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE, options=OPTIONS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(RATE * SECONDS):
            frame = av.VideoFrame.from_ndarray(_image(drive, texture, number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _drive(count: int) -> list[np.ndarray]:
    """Return frames of the drive, each enlarged to the camera's width and cut to its height from below."""
    images = []
    with av.open(str(ROOT / "data" / "raw" / "field" / "drive.mp4")) as container:
        for frame, _ in zip(container.decode(video=0), range(count), strict=False):
            image = frame.to_ndarray(format="rgb24")
            height = round(WIDTH * image.shape[0] / image.shape[1])
            images.append(cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_CUBIC)[-HEIGHT:])
    return images


def _texture() -> np.ndarray:
    """Return int16 grey levels of standard deviation 10, on twice the area of a frame on either side."""
    noise = np.random.default_rng(0).normal(size=(2 * HEIGHT, 2 * WIDTH, 1)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.round(10 / smooth.std() * smooth).astype(np.int16)[..., None]


def _image(drive: list[np.ndarray], texture: np.ndarray, number: int) -> np.ndarray:
    before, share = divmod(number, EACH)
    blended = cv2.addWeighted(drive[before], 1 - share / EACH, drive[before + 1], share / EACH, 0)
    left, top = 7 * number % WIDTH, 3 * number % HEIGHT
    moved = texture[top : top + HEIGHT, left : left + WIDTH]
    return np.clip(blended + moved, 0, 255).astype(np.uint8)
