"""Stage 4: activation maps -> pseudo masks and their confidence, frame by frame over worker processes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.corrected import CorrectedMasks
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir, save_bytes, save_json
from wildseg.core.names import check_lines
from wildseg.core.progress import track
from wildseg.crf.pixel_counts import PixelCounts
from wildseg.crf.temporal import neighbouring, ways_to_neighbours
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import catch_data_error
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.stages.tasks.crf import CrfTask, between_path

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write data/masks, data/masks/confidence and metrics/crf.json for all key frames.

    Those whose image or maps cannot be read are listed in data/masks/quarantine.csv, after those of the stages before.

    Raises:
        DataError: no key frames, or maps that are missing, broken or do not fit their frame.
    """
    temporal = params.crf.temporal
    quarantined = artifacts.load_quarantine("cam")
    listed = artifacts.load_frames(after="cam")
    frames = [frame.name for frame in listed]
    corrected = CorrectedMasks(artifacts.root, listed, params.classes.names)
    between = _decode(params, artifacts, listed) if temporal.neighbours and temporal.between else {}
    ways = ways_to_neighbours(listed, temporal, between) if temporal.neighbours else {}
    priors = _priors(params, artifacts, frames) if params.crf.label_prior else {}
    task = CrfTask(artifacts.root, params.crf, len(params.classes), bool(params.background), corrected, priors, ways)
    failures = Failures("crf", params.crf.max_failures, len(frames))
    counts = PixelCounts()
    packed = artifacts.frames_are_packed()
    results = run_frames(task, frames, runtime, failures, packed=packed, collect=lambda _, one: counts.add(*one))
    shutil.rmtree(between_path(artifacts.root, "any").parent, ignore_errors=True)
    artifacts.save_quarantine("crf", quarantined + failures.rows)
    report = counts.summary(params.classes.with_background)
    save_json(artifacts.metrics_path("crf.json"), report)
    if gone := corrected.without_frame(frames):
        print(f"crf: {len(gone)} corrected masks are of no key frame, such as {gone[0]!r}, and were left out")
    taken = f" ({len(corrected.paths)} corrected by a person)" if corrected.paths else ""
    print(
        f"crf: {len(results.frames)} frames{taken}, {report['coverage']:.1%} of pixels decided, {counts.empty} frames "
        f"without any class{_temporal(counts) if ways else ''}{failures}{results}"
    )


def _priors(params: Params, artifacts: Artifacts, frames: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return how likely each class is in each frame, as `label` wrote it.

    Raises:
        DataError: the table is missing or malformed, or lacks a frame.
    """
    priors = artifacts.load_priors(params.classes.names)
    check_lines(artifacts.priors_csv, priors, frames, "label")
    return {frame: priors[frame] for frame in frames}


def _temporal(counts: PixelCounts) -> str:
    beyond = f" ({counts.cut} more are beyond a cut)" if counts.cut else ""
    return f", maps of {counts.used} neighbours averaged in{beyond}"


def _decode(params: Params, artifacts: Artifacts, frames: Sequence[Frame]) -> Mapping[tuple[str, str], list[str]]:
    """Decode frames between neighbouring key frames into the scratch folder; return their names, by the key frames'.

    Raises:
        DataError: the source of the key frames is gone, or a recording's package.
    """
    from wildseg.frames.bags.bag import choose_topics
    from wildseg.frames.between import indices_between, read_between
    from wildseg.frames.image import resize
    from wildseg.frames.sources import find_sources

    temporal = params.crf.temporal
    found: dict[tuple[str, str], list[str]] = {}
    near = neighbouring(frames, temporal.within_s)
    if not near:
        return found
    empty_dir(between_path(artifacts.root, "any").parent)
    sources = choose_topics(find_sources(artifacts.root / params.extract.source), params.extract.topic)
    moving = [source for source in sources if source.name in near]
    for source in track(moving, len(moving), "crf: frames between"):
        pairs = near[source.name]
        inner = {pair: indices_between(pair[0].index, pair[1].index, temporal.between) for pair in pairs}
        readable = (catch_data_error(artifacts.load_image, frame.name) for pair in pairs for frame in pair)
        size = next((image.shape[1::-1] for image in readable if not isinstance(image, DataError)), (1, 1))
        written: dict[int, str] = {}
        for index, image in read_between(source, {index for indices in inner.values() for index in indices}):
            name = written[index] = f"{source.name}_{index:06d}"
            save_bytes(between_path(artifacts.root, name), artifacts.encode_image(resize(image, *size)))
        for (one, other), indices in inner.items():
            found[one.name, other.name] = [written[index] for index in indices if index in written]
    return found
