"""The frames that a map network is trained on: each is decoded once before, and quarantined where that fails."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from wildseg.artifacts.frames import KeyFrames
from wildseg.core.errors import DataError
from wildseg.core.progress import track
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import catch_data_error

Size = tuple[int, int]


def readable(frames: Sequence[str], files: KeyFrames, failures: Failures, workers: int) -> dict[str, Size]:
    """Return the size (H, W) of each frame that can be decoded, in order; the others are quarantined.

    A training would stop at a broken frame, hours after it began, and only in the step that draws it.

    Args:
        frames: names.
        files: where they lie.
        failures: the budget of the stage.
        workers: threads; decoders run without the interpreter's lock.

    Raises:
        DataError: more fail than the budget allows.
        SystemFailure: a frame cannot be read now, and another run may succeed.
    """
    sizes: dict[str, Size] = {}
    with ThreadPoolExecutor(workers) as threads:
        found = threads.map(partial(_size, files), frames)
        for frame, size in zip(frames, track(found, len(frames), "cam: reading training frames"), strict=True):
            if isinstance(size, DataError):
                failures.add(frame, str(size))
            else:
                sizes[frame] = size
    return sizes


def _size(files: KeyFrames, frame: str) -> Size | DataError:
    image = catch_data_error(files.load_image, frame)
    return image if isinstance(image, DataError) else image.shape[:2]
