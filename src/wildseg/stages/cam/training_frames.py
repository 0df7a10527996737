"""The frames that a map network is trained on: each is decoded once before, and quarantined where that fails."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from wildseg.artifacts.frames import KeyFrames
from wildseg.core.errors import DataError
from wildseg.core.progress import track
from wildseg.execution import fingerprint
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import catch_data_error
from wildseg.execution.result_store import Entry, ResultStore, key_of, versions

Size = tuple[int, int]
LIBRARIES = ("opencv-python-headless", "pillow", "numpy")


def digests(frames: Sequence[str], files: KeyFrames) -> dict[str, str]:
    """Return the SHA-256 of each frame's file, in order: hex; of one that is missing, the reason."""
    contents = ((frame, catch_data_error(files.frame_bytes, frame)) for frame in frames)
    return {
        frame: str(content) if isinstance(content, DataError) else hashlib.sha256(content).hexdigest()
        for frame, content in contents
    }


def readable(
    frames: Mapping[str, str], files: KeyFrames, failures: Failures, store: ResultStore, workers: int
) -> dict[str, Size]:
    """Return the size (H, W) of each frame that can be decoded, in order; the others are quarantined.

    A training would stop at a broken frame, hours after it began, and only in the step that draws it. The same files
    are not decoded for this a second time.

    Args:
        frames: the digest of each.
        files: where they lie.
        failures: the budget of the stage.
        store: keeps what was found.
        workers: threads; decoders run without the interpreter's lock.

    Raises:
        DataError: more fail than the budget allows.
        SystemFailure: a frame cannot be read now, and another run may succeed.
    """
    key = key_of(["readable", list(frames.items()), fingerprint.digest(__name__), versions(*LIBRARIES)])
    stored = store.get(key)
    found: dict[str, str | list[int]] = stored.record if stored else {}
    if not stored:
        with ThreadPoolExecutor(workers) as threads:
            decoded = threads.map(partial(_size, files), frames)
            found = dict(zip(frames, track(decoded, len(frames), "cam: reading training frames"), strict=True))
        store.put(key, Entry(found))
    sizes: dict[str, Size] = {}
    for frame, size in found.items():
        if isinstance(size, str):
            failures.add(frame, size)
        else:
            sizes[frame] = (size[0], size[1])
    return sizes


def _size(files: KeyFrames, frame: str) -> list[int] | str:
    """Return the height and width of a frame, or why it has none."""
    image = catch_data_error(files.load_image, frame)
    return str(image) if isinstance(image, DataError) else list(image.shape[:2])
