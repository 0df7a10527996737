"""Stage 3: one activation map per class that is in a key frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.project import Artifacts, FrameBoxes, Listing
from wildseg.cam.boxes import inside
from wildseg.cam.competition import nothing_to_compete
from wildseg.cam.params import Cam
from wildseg.core import lookup
from wildseg.core.errors import DataError, ParamsError
from wildseg.core.files import fresh
from wildseg.core.progress import note, track
from wildseg.encoders.weights import identity
from wildseg.exchange.coco import LARGEST_SIDE
from wildseg.execution import fingerprint, frame_task, result_store
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import Cache
from wildseg.execution.result_store import Entry
from wildseg.execution.runtime import Runtime, worker_device
from wildseg.execution.workers import Workers, crew, gpus

if TYPE_CHECKING:  # workers import torch, all at the same time; this process has no use for it
    import torch

    from wildseg.cam.engine import Recipe
    from wildseg.encoders.clip import Clip
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames and their labels, trace each new frame once, write one file of maps per frame.

    Frames that cannot be read are listed in data/cams/quarantine.csv, after those of the stage before.

    Raises:
        ParamsError: a method that compares classes has nothing to compare.
        DataError: no key frames, frames without a line in labels.csv, no prompts.json, or boxes that cannot be used.
        ModelError: the model cannot be had, or cannot be traced.
    """
    _check_competition(params, artifacts)
    aside = artifacts.load_quarantine("label")
    frames = [frame.name for frame in artifacts.load_frames(after="label")]
    labels = artifacts.load_labels(params.classes.names)
    if missing := [frame for frame in frames if frame not in labels]:
        raise DataError(
            f"{artifacts.labels_csv}: expected labels for each of {len(frames)} frames, {len(missing)} have none, the "
            f"first is {missing[0]!r}; run 'dvc repro label'"
        )
    limits = _limits(params, artifacts)
    work = [_Work(frame, np.flatnonzero(labels[frame]).tolist(), limits.frames.get(frame)) for frame in frames]
    kept = Cache(artifacts.root, "cam", _recipe(params, artifacts, runtime))
    tally = dict.fromkeys(("maps", "without", "blank", "emptied", "small"), 0)
    failures = Failures("cam", params.cam.max_failures, len(work), name=attrgetter("frame"))
    begin = partial(fresh, artifacts.cams_folder)
    served = kept.serve(work, partial(_crew, params, artifacts, runtime), begin, failures)
    for _, (maps, blank, emptied, small) in track(served, len(work), "cam"):
        tally["maps"] += maps
        tally["without"] += maps == 0
        tally["blank"] += blank
        tally["emptied"] += emptied
        tally["small"] += small
    done = failures.without(frames)
    if artifacts.frames_are_packed():
        artifacts.pack_maps(done)
    artifacts.save_quarantine("cam", aside + failures.rows)
    boxed = ""
    if limits.frames:
        mapped = set(done)
        boxed = _boxed([item for item in work if item.frame in mapped], tally["emptied"], limits.strangers)
    print(
        f"cam: {len(done)} frames, {tally['maps']} maps by {params.cam.method}, {tally['without']} frames without any"
        f"{boxed}{_odd(tally['blank'], tally['small'])}{failures}{kept}"
    )


def _boxed(done: Sequence[_Work], emptied: int, strangers: Sequence[str]) -> str:
    """Say how many frames have boxes, and what of them may be a mistake; empty where no frame is listed."""
    listed = [(work.limits, np.array(work.present, int) + 1) for work in done if work.limits is not None]
    idle = sum(int((~np.isin(limits.boxes[:, 4], ids)).sum()) for limits, ids in listed)
    odd = [f"nothing is left of {emptied} of their maps"] if emptied else []
    odd += [f"{idle} boxes of classes that are not labelled there change nothing"] if idle else []
    example = f", such as {strangers[0]!r}" if strangers else ""
    odd += [f"{len(strangers)} more that are listed are no key frames{example}"] if strangers else []
    if not listed and not strangers:
        return ""
    return f", {len(listed)} frames inside of boxes" + (f" ({'; '.join(odd)})" if odd else "")


def _odd(blank: int, small: int) -> str:
    parts = [f", {blank} maps the same everywhere (kept as zero)"] if blank else []
    parts += (
        [f", {small} frames smaller than a patch of the model (one cell, so no map shows anything)"] if small else []
    )
    return "".join(parts)


def _limits(params: Params, artifacts: Artifacts) -> Listing:
    """Return the boxes that maps are kept inside of, and tell what is odd about them.

    A person's own file need not be there, others must.
    """
    path = artifacts.root / params.cam.boxes
    if path == artifacts.limits_json and not os.path.lexists(path):
        return Listing({}, (), ())
    names = [frame.name for frame in artifacts.load_frames()]
    limits = artifacts.load_limits(params.classes.names, path, names, partial(_size_of, artifacts))
    for remark in limits.notes:
        print(f"cam: {params.cam.boxes}: {remark}")
    return limits


def _size_of(artifacts: Artifacts, frame: str) -> tuple[int, int]:
    try:
        height, width = artifacts.load_image(frame).shape[:2]
    except DataError:
        return LARGEST_SIDE, LARGEST_SIDE  # it is set aside, here or by a stage before: any size will do
    return width, height


def _check_competition(params: Params, artifacts: Artifacts) -> None:
    texts = len(params.classes) + len(artifacts.load_prompts().background)
    if texts < 2 and "competition" in lookup.needs("methods.cam", params.cam.method):
        raise ParamsError(nothing_to_compete(params.cam.method))


def make_recipe(params: Params) -> Recipe:
    """Gather what params.yaml says about maps."""
    from wildseg.cam.affinity import Affinity
    from wildseg.cam.engine import Recipe

    cam, caa = params.cam, params.cam.caa
    refine = Affinity(**asdict(caa)) if cam.refine == "caa" else None
    method = lookup.load("methods.cam", cam.method, "cam.method")
    return Recipe(
        method, cam.options.get(cam.method, {}), refine, cam.scales, cam.flip, cam.max_side, cam.pos_embed_interpolation
    )


# What a frame's maps depend on -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """A frame, the indices of the classes in it, and the boxes that its maps are kept inside of, if there are any."""

    frame: str
    present: list[int]
    limits: FrameBoxes | None


# How many maps, how many show nothing, how many more nothing inside of boxes, and whether there is one cell alone.
_Record = tuple[int, int, int, int]

TOGETHER = 16  # frames that are handed to a GPU at a time; on a CPU each passes by itself, as fast and in less memory


def _recipe(params: Params, artifacts: Artifacts, runtime: Runtime) -> frame_task.Recipe[_Work]:
    method, words = params.cam.method, artifacts.load_prompts()
    ingredients = {
        "cam": _chosen(params.cam),
        "model": identity(params.clip.model, params.clip.pretrained, artifacts.root),
        "words": [params.classes.phrases, words.background, words.templates],
        "code": fingerprint.digest("wildseg.stages.cam", f"wildseg.methods.cam.{method}"),
        "libraries": result_store.versions("torch", "open_clip_torch", "transformers", "numpy", "scipy", "pillow"),
        "devices": gpus(runtime)[:1],
    }
    together = TOGETHER if ingredients["devices"] else 1
    return frame_task.Recipe(
        ingredients, partial(_inputs, artifacts), partial(_files, artifacts), _make_maps, together, _make_several
    )


def _chosen(cam: Cam) -> dict[str, Any]:
    """Return what the maps of a frame depend on: nothing that is said of methods and refinements not chosen."""
    left_out = {"max_failures", "boxes"} if cam.refine == "caa" else {"max_failures", "boxes", "caa"}
    chosen = {name: value for name, value in asdict(cam).items() if name not in left_out}
    return chosen | {"options": cam.options.get(cam.method, {})}


def _inputs(artifacts: Artifacts, work: _Work) -> tuple[Any, ...]:
    limits = work.limits
    boxes = () if limits is None else (limits.width, limits.height, limits.boxes.tolist())
    return artifacts.frame_bytes(work.frame), work.present, boxes


def _files(artifacts: Artifacts, work: _Work) -> dict[str, Path]:
    return {"maps": artifacts.maps_path(work.frame)}


# In a worker -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tools:
    artifacts: Artifacts
    model: Clip
    texts: torch.Tensor  # (M, d), classes first, then background phrases
    num_classes: int
    recipe: Recipe


def _crew(params: Params, artifacts: Artifacts, runtime: Runtime, frames: int) -> Workers[_Tools]:
    return crew(runtime, frames, partial(prepare, params, artifacts, runtime.device), model=True)


def prepare(params: Params, artifacts: Artifacts, device: str, rank: int) -> _Tools:
    """Load the model and everything else that a frame's maps need, on the device of the worker `rank`.

    Raises:
        ModelError: the model cannot be had, or cannot be traced.
    """
    from wildseg.encoders import clip

    recipe = make_recipe(params)
    device = worker_device(device, rank)
    model = clip.load(params.clip.model, params.clip.pretrained, device=device, root=artifacts.root)
    note("cam", model.notes if rank == 0 else ())
    model.tower()  # a model that cannot be traced is told now
    words = artifacts.load_prompts()  # what label asked with
    texts = model.classifier((*params.classes.phrases, *((phrase,) for phrase in words.background)), words.templates)
    return _Tools(artifacts, model, texts, len(params.classes), recipe)


def _make_maps(work: _Work, tools: _Tools) -> Entry:
    return _entry(work, _compute(tools, [(work, tools.artifacts.load_image(work.frame))])[0], tools)


def _make_several(works: Sequence[_Work], tools: _Tools) -> list[Entry | DataError]:
    """Do the same for several frames: those of one size pass the network together."""
    images = [frame_task.met(tools.artifacts.load_image, work.frame) for work in works]
    made: list[Any] = list(images)  # where there is no image, the error stays
    sizes: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        if not isinstance(image, DataError):
            sizes.setdefault(image.shape, []).append(number)
    for numbers in sizes.values():
        for number, maps in zip(numbers, _compute(tools, [(works[n], images[n]) for n in numbers]), strict=True):
            made[number] = _entry(works[number], maps, tools)
    return made


def _compute(tools: _Tools, frames: Sequence[tuple[_Work, np.ndarray]]) -> list[np.ndarray]:
    from wildseg.cam.engine import activation_maps_of_batch

    images, present = [image for _, image in frames], [work.present for work, _ in frames]
    return activation_maps_of_batch(tools.model, images, tools.texts, present, tools.num_classes, tools.recipe)


def _entry(work: _Work, maps: np.ndarray, tools: _Tools) -> Entry:
    blank, emptied = _show_nothing(maps), 0
    if (limits := work.limits) is not None:
        maps = maps * inside(limits.boxes, (limits.width, limits.height), work.present, maps.shape[1:])
        emptied = _show_nothing(maps) - blank
    record: _Record = len(maps), blank, emptied, int(maps.shape[1] * maps.shape[2] == 1)
    return Entry(record, {"maps": tools.artifacts.encode_maps(np.array(work.present, np.int16), maps)})


def _show_nothing(maps: np.ndarray) -> int:
    return int((maps.max((1, 2)) == maps.min((1, 2))).sum()) if len(maps) else 0
