"""All CAM methods on the same frames, each in a process of its own: quality against cost.

A comparison takes minutes to hours, most of them for Score-CAM. Each row is stored when it is measured, so that an
interrupted comparison resumes; a finished one removes its rows, so that the next one measures again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.memory import MemoryFiles
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cli.compare.progress import store, stored
from wildseg.core import lookup
from wildseg.core.errors import DataError, ParamsError
from wildseg.core.files import load_bytes, sha256_of
from wildseg.encoders.weights import identity
from wildseg.execution import children, fingerprint, result_store
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.report.method_table import Row, lines, save
from wildseg.report.sampling import sample_evenly
from wildseg.stages.cam.regions import check_bank, needs_regions

if TYPE_CHECKING:
    from concurrent.futures import Future

    from wildseg.cam.params import Cam

ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def _training_free(*others: str) -> list[str]:
    """Return the CAM methods that need neither a network of their own nor files, nor any of `others`."""
    left_out = {"network", "files", *others}
    return [name for name in lookup.available("methods.cam") if not left_out & lookup.needs("methods.cam", name)]


def run(
    params: Params, artifacts: Artifacts, runtime: Runtime, methods: Sequence[str], refines: Sequence[str], frames: int
) -> None:
    """Measure `methods` (none means all) with each of `refines` on up to `frames` frames; write and print the table.

    Refinements in order are one of `refines`, joined by ``+``. All other parameters are those of `params`. Writes
    metrics/methods/table.csv and metrics/methods/methods.json.

    Raises:
        ParamsError: there is no such method, or it trains a network.
        DataError: no key frame has both a truth and a label, or a file cannot be read.
        ModelError: the model cannot be loaded.
    """
    for name in methods:
        lookup.check("methods.cam", name, "compare")
        if name not in _training_free():
            raise ParamsError(
                f"compare: expected training-free CAM methods; {name} trains a network, or reads files: use "
                "'dvc exp run'"
            )
    refined = [_refined(params, value) for value in dict.fromkeys(refines)]
    chosen = choose(params, artifacts, frames)
    folder = artifacts.scratch_folder / "compare"
    variants = [
        replace(params, cam=replace(cam, method=method))
        for method in methods or _training_free("encoder")  # whose weights may be a large download: by name alone
        for cam in refined
    ]
    for variant in variants:
        if needs_regions(variant.cam):
            check_bank(variant.cam, variant.clip, artifacts.root)
    conditions = key_of_conditions(params, artifacts, runtime, chosen)
    rows = []
    for number, variant in enumerate(variants, start=1):
        key = row_key(conditions, variant.cam, artifacts)
        path = folder / f"{variant.cam.method}-{variant.cam.refined_by}.json"
        row = stored(path, key)
        before = ", from an interrupted comparison" if row else ""
        if row is None:
            row = _measured(variant, artifacts, runtime, chosen)
            store(path, key, row)
        print(f"compare: {number}/{len(variants)} {row.name}{before}", file=sys.stderr, flush=True)
        rows.append(row)
    save(artifacts.metrics_path("methods"), rows)
    shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(lines(rows)))


def _refined(params: Params, value: str) -> Cam:
    """Return the section cam with the refinements that a value such as ``caa+pamr`` names.

    Options that params.yaml lacks have their defaults in what is computed.
    """
    names = tuple(name.strip() for name in value.split("+"))
    for name in names:
        lookup.check("methods.refine", name, "--refine")
    cam = replace(params.cam, refine=names if len(names) > 1 else names[0])
    cam.check("--refine")
    return cam


def choose(params: Params, artifacts: Artifacts, count: int) -> list[Frame]:
    """Return up to `count` key frames that have a truth and at least one label, evenly spread.

    Raises:
        DataError: there is none, or an earlier stage has not run.
    """
    folder = artifacts.root / params.extract.source
    if folder.is_dir():  # truth may travel with the videos
        artifacts.truth_folders.append(folder / "truth")
    labels = artifacts.load_labels(params.classes.names)
    frames = artifacts.load_frames(after="label")
    truths = artifacts.find_truth(frames)
    fit = [frame for frame in frames if frame.name in truths and np.any(labels.get(frame.name, False))]
    if not fit:
        raise DataError(
            f"compare: expected key frames with a label and a truth, found none among {len(frames)}; put masks of some "
            "under data/truth, see the README there"
        )
    return sample_evenly([fit], count)


def _measured(params: Params, artifacts: Artifacts, runtime: Runtime, frames: Sequence[Frame]) -> Row:
    process = ProcessPoolExecutor(1, children.context())
    with _environment(ONE_CORE), process as pool:
        with children.without_interrupts():
            future: Future[Row] = pool.submit(_measure, params, artifacts, frames, runtime.device)
        try:
            return future.result()
        except BrokenProcessPool:
            ended = "its process was killed, as by the system when memory runs out"
            return Row(params.cam.method, params.cam.refined_by, len(frames), note=ended)


def _measure(params: Params, artifacts: Artifacts, frames: Sequence[Frame], device: str) -> Row:
    from wildseg.cli.compare.measure import measure

    return measure(params, artifacts, frames, device)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def row_key(conditions: str, cam: Cam, artifacts: Artifacts) -> str:
    """Return the key of a row: what all rows have in common, the method, and the bank where a refinement reads it."""
    return result_store.key_of(
        [conditions, cam, MemoryFiles(artifacts.root).bank_digest() if needs_regions(cam) else None]
    )


def key_of_conditions(params: Params, artifacts: Artifacts, runtime: Runtime, frames: Sequence[Frame]) -> str:
    """Return a key of all that rows of one table have in common: frames, labels, model, code, machine."""
    labels = artifacts.load_labels(params.classes.names)
    content = hashlib.sha256()
    truths = artifacts.find_truth(frames)
    for frame in frames:
        content.update(artifacts.frame_bytes(frame.name) + load_bytes(truths[frame.name]))
    for path in artifacts.maps_of_truth(truths.values()):
        content.update(load_bytes(path))
    kept_inside = [artifacts.tiles_csv, artifacts.root / params.cam.boxes]
    return result_store.key_of(
        [
            content.hexdigest(),
            [sha256_of(path) if path.exists() else None for path in kept_inside],
            [[frame.name, np.flatnonzero(labels[frame.name]).tolist()] for frame in frames],
            identity(params.clip, artifacts.root),
            [params.classes, params.background, params.clip, artifacts.load_prompts()],
            fingerprint.fingerprint(),
            result_store.versions("torch", "open_clip_torch", "transformers", "numpy", "scipy", "pillow"),
            [platform.node(), platform.machine(), runtime.device],
        ]
    )
