"""Free space where a run writes, and how much a run of the present frames would take, as an estimate."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wildseg.artifacts.project import Artifacts
from wildseg.cli.doctor.finding import Finding
from wildseg.core.errors import WildsegError
from wildseg.execution import result_store
from wildseg.execution.cache_usage import readable, usage

LEAST = 100 * 10**6  # bytes without which not even a small run ends
OUTPUTS = ("data/frames", "data/cams", "data/masks", "models", "metrics")
COPIES = 3  # of an output: in the folder, in DVC's cache, in the result store


@dataclass(frozen=True)
class Estimate:
    """What a run from nothing would write: bytes of all copies, of how many frames, and bytes of one frame."""

    total: int
    frames: int
    per_frame: int


def check(artifacts: Artifacts) -> Iterator[Finding]:
    """Yield free space of the folders that a run writes, and whether the estimate of a run fits in."""
    root = artifacts.root
    try:
        store = result_store.location(root)
    except WildsegError as error:
        yield Finding("stop", str(error))
        store = None
    places = {"the project": root.resolve(), "the result store": existing(store or root)}
    free: dict[int, int] = {}
    for name, place in places.items():
        device = place.stat().st_dev
        if device in free:
            continue
        free[device] = shutil.disk_usage(place).free
        if free[device] < LEAST:
            yield Finding("stop", f"{readable(free[device])} are free where {name} lies", "make room")
    space = free[root.resolve().stat().st_dev]
    estimate = estimate_of(artifacts, store)
    if estimate is None:
        yield Finding("ok", f"{readable(space)} are free; what a run takes is unknown until one has been made here")
        return
    text = (
        f"{readable(space)} are free; a run from nothing would take about {readable(estimate.total)}, estimated from "
        f"{estimate.frames} key frames of {readable(estimate.per_frame)} each, in {COPIES} copies"
    )
    if estimate.total > space:
        yield Finding("note", text, "make room, 'wildseg cache --prune 5GB', or 'dvc gc --workspace'")
    else:
        yield Finding("ok", text, "more frames or another method take more")


def estimate_of(artifacts: Artifacts, store: Path | None) -> Estimate | None:
    """Return an estimate from what lies here: outputs in the folder, or entries of the result store; None from neither.

    An output is written three times at most: file systems that share blocks between copies take less.
    """
    try:
        frames = len(artifacts.load_frames())
    except WildsegError:
        return None
    outputs = sum(size_of(artifacts.root / name) for name in OUTPUTS)
    stored = sum(row.size / row.entries for row in usage(store) if row.entries) * frames if store else 0
    total = max(outputs, int(stored)) * COPIES
    return Estimate(total, frames, max(outputs, int(stored)) // frames) if frames and total else None


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def existing(folder: Path) -> Path:
    """Return `folder`, or the nearest one above it that is there: the disk on which it will lie."""
    folder = folder.absolute()
    return next(one for one in (folder, *folder.parents) if one.exists())
