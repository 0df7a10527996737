"""Stage 3: one activation map per class that is in a key frame."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.project import Artifacts, Listing
from wildseg.cam.competition import no_competitors_message
from wildseg.core import lookup
from wildseg.core.errors import DataError, ParamsError
from wildseg.core.files import empty_dir
from wildseg.exchange.coco import LARGEST_SIDE
from wildseg.execution.failures import Failures
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.stages.cam.labelled_frame import LabelledFrame
from wildseg.stages.cam.regions import check_bank, needs_regions
from wildseg.stages.cam.task import CamTask

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames and their labels, train the method's network if it has one, write one file of maps per frame.

    Frames that cannot be read are listed in data/cams/quarantine.csv, after those of the stage before.

    Raises:
        ParamsError: a method that compares classes has nothing to compare, or a refinement has nothing to refine by.
        DataError: no key frames, frames without a line in labels.csv, no prompts.json, boxes that cannot be used, given
            maps that lack a frame, or no bank of regions that a refinement can read.
        ModelError: the model cannot be had, or cannot be traced.
    """
    task = make_task(params, artifacts)
    _check_competition(task)
    check_refinement(task)
    if needs_regions(params.cam):
        check_bank(params.cam, params.clip, artifacts.root)
    quarantined = artifacts.load_quarantine("label")
    present, tiles = _labels(params, artifacts)
    if task.reads_files and (remark := task.given().check(present)):
        print(f"cam: {task.cam.method}: {remark}")
    failures = Failures("cam", params.cam.max_failures, len(present))
    _network(params, artifacts, runtime, task, present, tiles, failures)
    limits = limits_of(params, artifacts)
    origins = {frame.name: (frame.source, frame.time_s) for frame in artifacts.load_frames(after="label")}
    items = [
        LabelledFrame(frame, present[frame], limits.frames.get(frame), tiles.get(frame), *origins[frame])
        for frame in failures.without(list(present))
    ]
    counts = Counter[str]()
    packed = artifacts.frames_are_packed()
    results = run_frames(task, items, runtime, failures, packed=packed, collect=lambda _, record: counts.update(record))
    artifacts.save_quarantine("cam", quarantined + failures.rows)
    print(
        f"cam: {len(results.frames)} frames, {counts['maps']} maps by {params.cam.method}, {counts['without']} frames "
        f"without any{_tiled(tiles, counts)}{_boxed(items, results.frames, limits, counts)}{_odd(counts)}{failures}"
        f"{results}"
    )


def make_task(params: Params, artifacts: Artifacts) -> CamTask:
    """Return what computes the maps of a frame.

    Raises:
        DataError: no prompts.json.
    """
    return CamTask(artifacts.root, params.cam, params.clip, params.classes, artifacts.load_prompts())


# Read ------------------------------------------------------------------------------------------------------------


def _check_competition(task: CamTask) -> None:
    texts = len(task.classes) + len(task.prompts.background)
    if texts < 2 and "competition" in lookup.needs("methods.cam", task.cam.method):
        raise ParamsError(no_competitors_message(task.cam.method))


def check_refinement(task: CamTask) -> None:
    """Raise a ParamsError where a refinement needs what the method's maps do not have."""
    chosen = [name for name in task.cam.refinements if name != "none"]
    if task.reads_files and chosen:
        raise ParamsError(
            f"cam.refine: expected none, because {task.cam.method} takes maps from files as they are; "
            f"found {chosen[0]!r}; add -S cam.refine=none"
        )
    needed = {name: lookup.needs("methods.refine", name) - {"image"} for name in lookup.available("methods.refine")}
    for name in chosen if task.needs_network else ():
        if needed[name]:
            raise ParamsError(
                f"cam.refine: expected {' or '.join(sorted(other for other, what in needed.items() if not what))}, "
                f"because {task.cam.method} reads a network of its own; {name} needs the "
                f"{' and '.join(sorted(needed[name])).replace('_', ' ')} of the image-text model"
            )


def _labels(params: Params, artifacts: Artifacts) -> tuple[dict[str, list[int]], dict[str, np.ndarray]]:
    """Return the indices of the classes in each usable frame, and those of its tiles, (r, c, C) bool, if any."""
    frames = [frame.name for frame in artifacts.load_frames(after="label")]
    labels = artifacts.load_labels(params.classes.names)
    if missing := [frame for frame in frames if frame not in labels]:
        raise DataError(
            f"{artifacts.labels_csv}: expected labels for each of {len(frames)} frames, {len(missing)} have none, the "
            f"first is {missing[0]!r}; run 'dvc repro label'"
        )
    tiles = artifacts.load_tiles(params.classes.names, labels)
    return {frame: np.flatnonzero(labels[frame]).tolist() for frame in frames}, tiles


def limits_of(params: Params, artifacts: Artifacts) -> Listing:
    """Return the boxes that maps are kept inside of, and print what is odd about them.

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
        return LARGEST_SIDE, LARGEST_SIDE  # it is quarantined, here or by a stage before: any size will do
    return width, height


# The network -----------------------------------------------------------------------------------------------------


def _network(
    params: Params, artifacts: Artifacts, runtime: Runtime, task: CamTask,
    present: Mapping[str, list[int]], tiles: Mapping[str, np.ndarray], failures: Failures,
) -> None:  # fmt: skip
    """Leave models/cam and its curve: a trained network, or that the method is training-free."""
    if task.needs_network:
        from wildseg.stages.cam import network  # loads torch, which this process has no other use for

        network.run(params, artifacts, runtime, task, present, tiles, failures)
        return
    empty_dir(artifacts.map_network_folder)
    artifacts.save_map_network_config({"method": params.cam.method, "network": None})
    artifacts.save_map_network_curve([])


# The summary -----------------------------------------------------------------------------------------------------


def _tiled(tiles: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> str:
    """Say that maps are kept inside of tiles, and what may be a mistake; empty where frames are labelled as a whole."""
    if not tiles:
        return ""
    rows, columns, _ = next(iter(tiles.values())).shape
    odd = [f"finer than the cells of {counts['finer']} frames, where a cell is a tile"] if counts["finer"] else []
    odd += [f"nothing is left of {counts['outside']} maps"] if counts["outside"] else []
    return f", inside of {rows} x {columns} tiles" + (f" ({'; '.join(odd)})" if odd else "")


def _boxed(items: Sequence[LabelledFrame], done: Collection[str], limits: Listing, counts: Mapping[str, int]) -> str:
    """Say how many frames have boxes, and what of them may be a mistake; empty where no frame is listed."""
    if not limits.frames:
        return ""
    mapped = set(done)
    listed = [item for item in items if item.frame in mapped and item.limits is not None]
    if not listed and not limits.unmatched:
        return ""
    idle = sum(item.limits.count_without(item.present) for item in listed if item.limits)
    odd = [f"nothing is left of {counts['emptied']} of their maps"] if counts["emptied"] else []
    odd += [f"{idle} boxes of classes that are not labelled there change nothing"] if idle else []
    example = f", such as {limits.unmatched[0]!r}" if limits.unmatched else ""
    odd += [f"{len(limits.unmatched)} more that are listed are no key frames{example}"] if limits.unmatched else []
    return f", {len(listed)} frames inside of boxes" + (f" ({'; '.join(odd)})" if odd else "")


def _odd(counts: Mapping[str, int]) -> str:
    blank, small = counts["blank"], counts["small"]
    parts = [f", {blank} maps the same everywhere (kept as zero)"] if blank else []
    parts += (
        [f", {small} frames smaller than a patch of the model (one cell, so no map shows anything)"] if small else []
    )
    return "".join(parts)
