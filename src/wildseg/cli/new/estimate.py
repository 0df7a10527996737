"""How long a first run takes, as ranges: key frames from the length of the videos, time from measured and counted work.

Measured are, on one core of a server of 2.5 GHz, the stages with the embedded CLIP on frames of 224x168, and a training
step of the small U-Net (benchmarks/README.md). For a ViT-B/16 operations are counted (docs/scale.md), and a core is
taken to do 20 to 80 of them a nanosecond. On one GPU, an H200, maps of a ViT-B/16 took 18 ms a frame of 512x384 and a
training step 3.5 ms an image of 512x512; others are taken to be up to thirty and ten times slower. Other models, of
which nothing is known, are taken to be like these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wildseg.cli.new.media import Media
from wildseg.execution.params import Params

EMBEDDED = "wildseg-tiny"
LABEL_S, CAM_S, CRF_S, EXTRACT_S, TRAIN_S = 0.09, 0.41, 0.1, 0.0025, 0.04  # a frame on one core; an image of 128x128
PIXELS = 224 * 168
FEWEST = 0.05  # of the frames looked at, where a method keeps those that changed
WIDE = 2.0  # another machine is faster or slower by so much
CORE, A_GPU = (20e9, 80e9), (0.03, 0.6)  # operations a second of a core; seconds a frame for label and cam
VIEWS = 10 * 35e9  # operations: ten views of 224x224
PATCH, BLOCKS, WIDTH, WEIGHTS = 16, 12, 768, 85e6  # of a ViT-B/16
BACKWARD = (1.2, 1.9)  # forward passes that maps take, for one class and for eight
GPU_STEP_S = (0.0035, 0.035)  # of a training step, an image of 512x512


@dataclass(frozen=True)
class Range:
    """Between two numbers."""

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        """Return the range of the sum."""
        return Range(self.low + other.low, self.high + other.high)

    def times(self, low: float, high: float | None = None) -> Range:
        """Return the range of the product with a number, or with one between two."""
        return Range(self.low * low, self.high * (low if high is None else high))


def key_frames(media: Sequence[Media], params: Params) -> Range | None:
    """Return how many key frames there may be; None where a video does not say how long it is."""
    total = Range(0, 0)
    for one in media:
        if one.photos:
            total += Range(one.photos, one.photos)
            continue
        if one.seconds is None:
            return None
        looked_at = one.seconds * min(params.extract.fps or one.rate, one.rate or 1e9)
        total += Range(max(1.0, looked_at * FEWEST), max(1.0, looked_at))
    return total


def seconds(media: Sequence[Media], frames: Range, params: Params, cores: int, gpu: bool) -> dict[str, Range]:
    """Return seconds for the work on frames and for the training, by name.

    Args:
        media: what there is.
        frames: how many key frames.
        params: of the project.
        cores: how many work at the same time.
        gpu: whether models run on a GPU.
    """
    largest = max((one.width * one.height for one in media), default=PIXELS)
    side = params.extract.max_side
    if side is not None:
        largest = min(largest, side * side)
    decoded = sum((one.seconds or 0) * one.rate for one in media) + sum(one.photos for one in media)
    reading = Range(1 / WIDE, WIDE).times(decoded * EXTRACT_S * min(8.0, max(1.0, largest / PIXELS)) / cores)
    crf = frames.times(CRF_S * largest / PIXELS / cores / WIDE, CRF_S * largest / PIXELS / cores * WIDE)
    return {
        "frames": reading + crf + _models(media, frames, params, cores, gpu),
        "training": _training(params, cores, gpu),
    }


def _models(media: Sequence[Media], frames: Range, params: Params, cores: int, gpu: bool) -> Range:
    if gpu:
        return frames.times(*A_GPU)
    if params.clip.model == EMBEDDED:
        return frames.times((LABEL_S + CAM_S) / cores / WIDE, (LABEL_S + CAM_S) / cores * WIDE)
    operations = Range(VIEWS, VIEWS)
    for scale in params.cam.scales:
        passes = max(_tower(one, params.cam.max_side, scale) for one in media)
        operations += Range(passes * BACKWARD[0], passes * BACKWARD[1])
    return Range(
        frames.low * operations.low / CORE[1] / cores,
        frames.high * operations.high / CORE[0] / cores,
    )


def _tower(one: Media, max_side: int | None, scale: float) -> float:
    """Return the operations of a pass of a ViT-B/16 over a frame at a scale."""
    shrink = min(1.0, (max_side or 1e9) / max(one.width, one.height)) * scale / PATCH
    tokens = one.width * shrink * one.height * shrink + 1
    return 2 * WEIGHTS * tokens + BLOCKS * 4 * WIDTH * tokens**2


def _training(params: Params, cores: int, gpu: bool) -> Range:
    train = params.train
    images = float(train.steps * train.rounds * train.batch_size)
    if gpu:
        return Range(*GPU_STEP_S).times(images * (train.crop / 512) ** 2)
    images *= (train.crop / 128) ** 2
    return Range(images * TRAIN_S / cores / WIDE, images * TRAIN_S * WIDE)


def shown(span: Range) -> str:
    """Return a range of seconds in a unit that suits its upper end, such as ``20 to 90 minutes``."""
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if span.high >= 2 * length:
            return f"{_rounded(span.low / length)} to {_rounded(span.high / length)} {unit}"
    return "a minute or two" if span.high > 60 else "up to a minute"


def _rounded(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1g}"
