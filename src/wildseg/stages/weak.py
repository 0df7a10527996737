"""Beside the pipeline: activation maps -> boxes, points and scribbles, frame by frame over worker processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wildseg.artifacts.project import Artifacts, FrameBoxes
from wildseg.artifacts.weak import WEAK
from wildseg.core.classes import BACKGROUND, IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import atomic, fresh, save_json
from wildseg.core.progress import track
from wildseg.crf.params import Weak
from wildseg.crf.unary import upsample
from wildseg.crf.valid import problem
from wildseg.crf.weak import points as weak_points
from wildseg.crf.weak.boxes import boxes
from wildseg.crf.weak.regions import stretch
from wildseg.crf.weak.scribbles import dots, scribbles
from wildseg.execution import fingerprint, frame_task, result_store
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import Cache
from wildseg.execution.result_store import Entry
from wildseg.execution.runtime import Runtime
from wildseg.execution.workers import Workers, crew, no_tools
from wildseg.report.weak import draw

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write data/boxes.json, data/points, data/scribbles, metrics/weak.json and pictures in metrics/weak.

    Frames that cannot be read, or whose maps cannot, are listed in quarantine.csv of points and scribbles, after those
    of the stages before.

    Raises:
        DataError: no key frames, or too many of them, or of their maps, that cannot be read or do not fit.
    """
    aside = artifacts.load_quarantine("cam")
    frames = [frame.name for frame in artifacts.load_frames(after="cam")]
    kept = Cache(artifacts.root, "weak", _recipe(params, artifacts))
    failures = Failures("weak", params.weak.max_failures, len(frames))
    served = kept.serve(frames, partial(_crew, runtime), partial(_begin, artifacts), failures)
    records = dict(track(served, len(frames), "weak"))
    frames = failures.without(frames)
    found = {frame: _boxes_of(records[frame]) for frame in frames}
    names = params.classes.with_background
    artifacts.save_boxes(found, params.classes.names)
    artifacts.save_points((frame, x, y, names[value]) for frame in frames for x, y, value in records[frame]["points"])
    _draw(params, artifacts, [(frame, found[frame], records[frame]) for frame in _some(frames, params.weak.pictures)])
    if artifacts.frames_are_packed():
        artifacts.pack_weak(frames)
    for kind in WEAK:
        artifacts.save_quarantine(kind, aside + failures.rows)
    report = summary(records, names)
    save_json(artifacts.metrics_path("weak.json"), report)
    print(
        f"weak: {len(frames)} frames, {report['boxes']} boxes, {report['points']} points, scribbles on "
        f"{report['scribbled']:.2%} of pixels{failures}{kept}"
    )


def summary(records: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return metrics/weak.json: how many boxes and points there are in all and by class, and the scribbles' share."""
    box_ids = np.bincount([box[4] for record in records.values() for box in record["boxes"]], minlength=len(names))
    point_ids = np.bincount([at[2] for record in records.values() for at in record["points"]], minlength=len(names))
    pixels = sum(record["size"][0] * record["size"][1] for record in records.values())
    scribbled = sum(record["scribbled"] for record in records.values())
    return {
        "frames": len(records),
        "boxes": int(box_ids.sum()),
        "points": int(point_ids.sum()),
        "scribbled": scribbled / pixels,
        "boxes_by_class": dict(zip(names[1:], box_ids[1:].tolist(), strict=True)),
        "points_by_class": dict(zip(names, point_ids.tolist(), strict=True)),
    }


def _crew(runtime: Runtime, frames: int) -> Workers[None]:
    return crew(runtime, frames, no_tools, model=False)


def _begin(artifacts: Artifacts) -> None:
    for kind in WEAK:
        fresh(artifacts.weak_folder(kind))


def _some(frames: Sequence[str], number: int) -> list[str]:
    """Return at most `number` frames, evenly spread."""
    number = min(number, len(frames))
    return [frames[(2 * place + 1) * len(frames) // (2 * number)] for place in range(number)]


def _boxes_of(record: Mapping[str, Any]) -> FrameBoxes:
    width, height = record["size"]
    return FrameBoxes(width, height, np.array(record["boxes"], np.float64).reshape(-1, 6))


def _draw(params: Params, artifacts: Artifacts, shown: Sequence[tuple[str, FrameBoxes, Mapping[str, Any]]]) -> None:
    folder = fresh(artifacts.metrics_path("weak"))
    for frame, here, record in shown:
        points = np.array(record["points"], int).reshape(-1, 3)
        lines = artifacts.load_weak("scribbles", frame)
        image = artifacts.load_image(frame)
        sheet = draw(frame, image, here.boxes, points, lines, params.classes.with_background)
        with atomic(folder / f"{frame}.png") as temporary:
            Image.fromarray(sheet).save(temporary)


# What a frame's weak labels depend on ----------------------------------------------------------------------------


def _recipe(params: Params, artifacts: Artifacts) -> frame_task.Recipe[str]:
    num_classes, background = len(params.classes), bool(params.background)
    settings = params.weak
    ingredients = {
        "weak": [settings.tau, settings.min_area, settings.min_share, settings.points, settings.scribble,
                 settings.background],
        "classes": [num_classes, background],
        "seed": params.seed,
        "code": fingerprint.digest("wildseg.stages.weak"),
        "libraries": result_store.versions("numpy", "scipy", "opencv-python-headless", "pillow"),
    }  # fmt: skip
    work = partial(
        _label_frame,
        artifacts=artifacts,
        settings=settings,
        num_classes=num_classes,
        background=background,
        seed=params.seed,
    )
    return frame_task.Recipe(ingredients, partial(_inputs, artifacts), partial(_files, artifacts), work)


def _inputs(artifacts: Artifacts, frame: str) -> tuple[str, bytes, bytes]:
    return frame, artifacts.frame_bytes(frame), artifacts.maps_bytes(frame)  # the name is part of the seed


def _files(artifacts: Artifacts, frame: str) -> dict[str, Path]:
    return {kind: artifacts.weak_path(kind, frame) for kind in WEAK}


# In a worker -----------------------------------------------------------------------------------------------------


def _label_frame(
    frame: str, _: None, *, artifacts: Artifacts, settings: Weak, num_classes: int, background: bool, seed: int
) -> Entry:
    height, width = artifacts.load_image(frame).shape[:2]
    classes, grid = artifacts.load_maps(frame)
    _check(frame, classes, grid, num_classes)
    maps = stretch(upsample(grid, (height, width)))  # (K, H, W)
    ids = (classes + 1).tolist()
    found = [[*map(int, box[:4]), value, round(box[4], 6)] for value, heat in zip(ids, maps, strict=True)
             for box in boxes(heat, settings.tau, settings.min_area, settings.min_share).tolist()]  # fmt: skip
    places = _points(maps, ids, settings, background, np.random.default_rng([seed, *frame.encode()]))
    drawn = scribbles(maps, ids, settings.scribble, settings.background if background else None)
    images = {"points": dots(places, (height, width)), "scribbles": drawn}
    record = {
        "size": [width, height],
        "boxes": found,
        "points": places.tolist(),
        "scribbled": int((drawn != IGNORE).sum()),
    }
    return Entry(record, {kind: artifacts.encode_weak(image) for kind, image in images.items()})


def _points(
    maps: np.ndarray, ids: Sequence[int], settings: Weak, background: bool, rng: np.random.Generator
) -> np.ndarray:
    """Return points (m, 3) int: x, y, id."""
    kinds = [
        (value, weak_points.foreground(heat, settings.points, settings.tau, settings.min_area, settings.min_share))
        for value, heat in zip(ids, maps, strict=True)
    ]
    if background:
        kinds.append((BACKGROUND, weak_points.background(maps, settings.points, settings.background, rng)))
    rows = [np.column_stack([places, np.full(len(places), value)]) for value, places in kinds]
    return np.concatenate([np.zeros((0, 3), int), *rows])


def _check(frame: str, classes: np.ndarray, maps: np.ndarray, num_classes: int) -> None:
    if wrong := problem(classes, maps, num_classes):
        raise DataError(f"maps of the frame {frame!r}: {wrong}; run 'dvc repro cam'")
