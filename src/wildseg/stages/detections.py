"""`wildseg detect`: asks a detector for the classes in all key frames, writes its boxes, and labels made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.project import Artifacts, FrameBoxes
from wildseg.core import lookup
from wildseg.core.errors import WildsegError, did_you_mean
from wildseg.core.files import save_table
from wildseg.core.lookup import DETECTORS
from wildseg.core.progress import track
from wildseg.execution import fingerprint, result_store
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import Cache, Recipe
from wildseg.execution.runtime import Runtime, worker_device
from wildseg.execution.workers import crew, gpus
from wildseg.labels.detection import Detect, present, tidy

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(
    params: Params,
    artifacts: Artifacts,
    runtime: Runtime,
    *,
    method: str,
    model: str,
    into: Path,
    threshold: float,
    iou: float,
    labels: Path | None,
    presence: Sequence[str],
) -> None:
    """Write boxes of all key frames as COCO has them, and where `labels` is given, a table of the classes in each.

    Frames that cannot be read are in neither, up to the share label.max_failures, as in the stage `label`. What a
    detector answers to a frame is kept, so that a run that was killed goes on where it was.

    Args:
        params: the classes and their phrases.
        artifacts: of the project.
        runtime: where to compute.
        method: a file of `labels/detectors`.
        model: a folder, or a name on the model hub.
        into: the file of boxes.
        threshold: the lowest score of a box.
        iou: of two boxes that overlap by more, the one of the lower score goes.
        labels: a table as label.method `given` reads it.
        presence: see `thresholds`.

    Raises:
        WildsegError: no key frames, no such detector or class, or weights that cannot be used.
    """
    names = params.classes.names
    cuts = thresholds(presence, names, threshold)
    for option, path in (("--into", into), ("--labels", labels)):
        if path is not None and path.is_dir():
            raise WildsegError(f"{option}: expected a file to write, found the folder {path}")
    frames = [frame.name for frame in artifacts.load_frames()]
    failures = Failures("label", params.label.max_failures, len(frames))
    lookup.check(DETECTORS, method, "--method")
    kept = Cache(artifacts.root, "detect", _recipe(params, artifacts, runtime, method, model, threshold))
    workers = partial(crew, runtime, prepare=partial(_prepare, method, model, runtime.device), model=True)
    served = kept.serve(frames, workers, failures=failures)
    records = dict(track(served, len(frames), "detect"))
    found: dict[str, FrameBoxes] = {}
    for frame in failures.without(frames):
        width, height = records[frame]["size"]
        rows = np.array(records[frame]["boxes"], np.float64).reshape(-1, 6)
        found[frame] = FrameBoxes(width, height, tidy(rows, (width, height), iou))
    artifacts.save_boxes(found, names, into)
    if labels is not None:
        save_labels(labels, found, names, cuts)
    number = sum(len(here.boxes) for here in found.values())
    left_out = "".join(f"\n  left out: {frame} ({reason})" for frame, reason in failures.rows)
    print(
        f"detect: {len(found)} frames, {number} boxes by {method} in {into}{f', labels in {labels}' if labels else ''}"
        f"{kept}{left_out}"
    )


def _recipe(
    params: Params, artifacts: Artifacts, runtime: Runtime, method: str, model: str, threshold: float
) -> Recipe[str]:
    ingredients = {
        "detector": [method, _identity(Path(model)) or model, threshold],
        "phrases": params.classes.phrases,
        "code": fingerprint.digest("wildseg.stages.detections", f"wildseg.{DETECTORS}.{method}"),
        "libraries": result_store.versions("torch", "transformers", "ultralytics", "onnxruntime", "numpy", "pillow"),
        "devices": gpus(runtime)[:1],
    }
    work = partial(_ask, artifacts=artifacts, phrases=params.classes.phrases, threshold=threshold)
    return Recipe(ingredients, partial(_inputs, artifacts), _no_files, work)


def _identity(model: Path) -> list[list[str]]:
    """Return the names and hashes of the files of a model that lies here; nothing of one on the hub."""
    files = [model] if model.is_file() else sorted(model.iterdir()) if model.is_dir() else []
    known = []
    for path in files:
        if path.is_file():
            with path.open("rb") as stream:
                known.append([path.name, hashlib.file_digest(stream, "sha256").hexdigest()])
    return known


def _inputs(artifacts: Artifacts, frame: str) -> tuple[bytes]:
    return (artifacts.frame_bytes(frame),)


def _no_files(_: str) -> dict[str, Path]:
    return {}


def _prepare(method: str, model: str, device: str, rank: int) -> Detect:
    return lookup.load(DETECTORS, method, "--method").load(model, worker_device(device, rank))


def _ask(
    frame: str, detect: Detect, *, artifacts: Artifacts, phrases: Sequence[Sequence[str]], threshold: float
) -> result_store.Entry:
    image = artifacts.load_image(frame)
    height, width = image.shape[:2]
    return result_store.Entry({"size": [width, height], "boxes": detect(image, phrases, threshold).tolist()})


def save_labels(path: Path, found: Mapping[str, FrameBoxes], names: Sequence[str], cuts: Sequence[float]) -> None:
    """Write a table of labels: a class is in a frame if a box of it reaches its threshold."""
    rows = [(frame, ",".join(np.array(names)[present(here.boxes, cuts)].tolist())) for frame, here in found.items()]
    save_table(path, ("Frame", "Labels"), rows, quote_all=True)


def thresholds(wishes: Sequence[str], names: Sequence[str], default: float) -> list[float]:
    """Return the threshold of each class from wishes such as ``0.3``, for all, and ``lawn=0.2``, for one.

    Args:
        wishes: as a person gives them.
        names: of the classes.
        default: the lowest score of a box, which is the threshold where no wish says otherwise.

    Raises:
        WildsegError: a wish is none of these, or below the score of any box.
    """
    one, lowest = {}, default
    for wish in wishes:
        name, equals, number = wish.rpartition("=")
        if equals and name not in names:
            raise WildsegError(f"--presence {wish}: there is no such class{did_you_mean(name, names)}")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise WildsegError(
                f"--presence: expected a number from 0 to 1, or a class with one as in lawn=0.2; found {wish!r}"
            )
        if value < lowest:
            raise WildsegError(
                f"--presence {wish}: expected no less than the lowest score of a box, --threshold {lowest:g}; "
                "lower that, too"
            )
        if equals:
            one[name] = value
        else:
            default = value
    return [one.get(name, default) for name in names]
