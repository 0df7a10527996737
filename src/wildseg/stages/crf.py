"""Stage 4: activation maps -> pseudo masks and their confidence, frame by frame over worker processes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.project import Artifacts
from wildseg.core.classes import IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import fresh, save_json
from wildseg.core.progress import track
from wildseg.crf.masks import mask_frame
from wildseg.crf.params import Crf
from wildseg.crf.valid import problem
from wildseg.execution import fingerprint, frame_task, result_store
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import Cache
from wildseg.execution.result_store import Entry
from wildseg.execution.runtime import Runtime
from wildseg.execution.workers import Workers, crew, no_tools

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write data/masks, data/masks/confidence and metrics/crf.json for all key frames.

    Those whose image or maps cannot be read are listed in data/masks/quarantine.csv, after those of the stages before.

    Raises:
        DataError: no key frames, or maps that are missing, broken or do not fit their frame.
    """
    aside = artifacts.load_quarantine("cam")
    frames = [frame.name for frame in artifacts.load_frames(after="cam")]
    kept = Cache(artifacts.root, "crf", _recipe(params, artifacts))
    pixels = np.zeros(256, np.int64)  # by id
    empty = 0
    failures = Failures("crf", params.crf.max_failures, len(frames))
    served = kept.serve(frames, partial(_crew, runtime), partial(_begin, artifacts), failures)
    for _, (counts, num_present) in track(served, len(frames), "crf"):
        pixels += np.bincount([i for i, _ in counts], [n for _, n in counts], minlength=256).astype(np.int64)
        empty += num_present == 0
    done = failures.without(frames)
    if artifacts.frames_are_packed():
        artifacts.pack_masks(done)
    artifacts.save_quarantine("crf", aside + failures.rows)

    report = summary(pixels, params.classes.with_background, len(done), empty)
    save_json(artifacts.metrics_path("crf.json"), report)
    print(
        f"crf: {len(done)} frames, {report['coverage']:.1%} of pixels decided, {empty} frames without any "
        f"class{failures}{kept}"
    )


def summary(pixels: np.ndarray, names: tuple[str, ...], num_frames: int, num_empty: int) -> dict[str, object]:
    """Return metrics/crf.json: `coverage` is the share of pixels that are not 255, `share` that of each class.

    Args:
        pixels: (256,) int64, pixels by id over all frames.
        names: names by id.
        num_frames: how many frames were processed.
        num_empty: how many of them show no class.
    """
    shares = pixels / pixels.sum()
    return {
        "frames": num_frames,
        "frames_without_class": num_empty,
        "coverage": 1 - shares[IGNORE],
        "share": dict(zip(names, shares, strict=False)),
    }


def _crew(runtime: Runtime, frames: int) -> Workers[None]:
    return crew(runtime, frames, no_tools, model=False)


def _begin(artifacts: Artifacts) -> None:
    fresh(artifacts.masks_folder)
    fresh(artifacts.confidence_folder)


def _recipe(params: Params, artifacts: Artifacts) -> frame_task.Recipe[str]:
    num_classes, background = len(params.classes), bool(params.background)
    ingredients = {
        "crf": replace(params.crf, max_failures=0.0),
        "classes": [num_classes, background],
        "code": fingerprint.digest("wildseg.stages.crf"),
        "libraries": result_store.versions("pydensecrf2", "pydensecrf", "numpy", "opencv-python-headless", "pillow"),
    }
    work = partial(
        _mask_frame, artifacts=artifacts, settings=params.crf, num_classes=num_classes, background=background
    )
    return frame_task.Recipe(ingredients, partial(_inputs, artifacts), partial(_files, artifacts), work)


def _inputs(artifacts: Artifacts, frame: str) -> tuple[bytes, bytes]:
    return artifacts.frame_bytes(frame), artifacts.maps_bytes(frame)


def _files(artifacts: Artifacts, frame: str) -> dict[str, Path]:
    return {"mask": artifacts.mask_path(frame), "confidence": artifacts.confidence_path(frame)}


def _mask_frame(
    frame: str, _: None, *, artifacts: Artifacts, settings: Crf, num_classes: int, background: bool
) -> Entry:
    # Runs in a worker: only the frame's name comes in and only counts go out, so that no image is ever pickled.
    image = artifacts.load_image(frame)
    classes, maps = artifacts.load_maps(frame)
    _check(frame, image, classes, maps, num_classes)
    mask, confidence = mask_frame(image, classes, maps, settings, background=background)
    counts = np.bincount(mask.ravel())
    ids = np.flatnonzero(counts)
    record = list(zip(ids.tolist(), counts[ids].tolist(), strict=True)), len(classes)
    contents = {"mask": artifacts.encode_mask(mask), "confidence": artifacts.encode_confidence(confidence)}
    return Entry(record, contents)


def _check(frame: str, image: np.ndarray, classes: np.ndarray, maps: np.ndarray, num_classes: int) -> None:
    wrong = problem(classes, maps, num_classes)
    if not wrong and len(classes) and not _same_aspect(maps.shape[1:], image.shape[:2]):
        size, grid = image.shape[1::-1], maps.shape[:0:-1]
        wrong = f"expected a grid of its frame's shape, {size[0]}x{size[1]}, found {grid[0]}x{grid[1]} cells"
    if wrong:
        raise DataError(f"maps of the frame {frame!r}: {wrong}; run 'dvc repro cam'")


def _same_aspect(grid: tuple[int, ...], pixels: tuple[int, ...]) -> bool:
    # A grid may be off by part of a cell on either axis, since an encoder's input is a whole number of patches.
    cells_per_pixel = [((cells - 1.5) / size, (cells + 1.5) / size) for cells, size in zip(grid, pixels, strict=True)]
    (low_y, high_y), (low_x, high_x) = cells_per_pixel
    return low_y < high_x and low_x < high_y
