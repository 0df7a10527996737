"""Stage 4: activation maps -> pseudo masks and their confidence, frame by frame over worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wildseg.artifacts.corrected import CorrectedMasks
from wildseg.artifacts.project import Artifacts
from wildseg.core.files import save_json
from wildseg.crf.pixel_counts import PixelCounts
from wildseg.execution.failures import Failures
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.stages.tasks.crf import CrfTask

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write data/masks, data/masks/confidence and metrics/crf.json for all key frames.

    Those whose image or maps cannot be read are listed in data/masks/quarantine.csv, after those of the stages before.

    Raises:
        DataError: no key frames, or maps that are missing, broken or do not fit their frame.
    """
    quarantined = artifacts.load_quarantine("cam")
    listed = artifacts.load_frames(after="cam")
    frames = [frame.name for frame in listed]
    corrected = CorrectedMasks(artifacts.root, listed, params.classes.names)
    task = CrfTask(artifacts.root, params.crf, len(params.classes), bool(params.background), corrected)
    failures = Failures("crf", params.crf.max_failures, len(frames))
    counts = PixelCounts()
    packed = artifacts.frames_are_packed()
    results = run_frames(task, frames, runtime, failures, packed=packed, collect=lambda _, one: counts.add(*one))
    artifacts.save_quarantine("crf", quarantined + failures.rows)
    report = counts.summary(params.classes.with_background)
    save_json(artifacts.metrics_path("crf.json"), report)
    if gone := corrected.without_frame(frames):
        print(f"crf: {len(gone)} corrected masks are of no key frame, such as {gone[0]!r}, and were left out")
    taken = f" ({len(corrected.paths)} corrected by a person)" if corrected.paths else ""
    print(
        f"crf: {len(results.frames)} frames{taken}, {report['coverage']:.1%} of pixels decided, {counts.empty} frames "
        f"without any class{failures}{results}"
    )
