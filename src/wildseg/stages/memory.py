"""`wildseg memory`: builds the bank of regions that `cam.refine: memory` reads, from the key frames of the split train.

The bank is frozen: what is there stays as it is until a person asks for more frames, or for a new one, so that more
video does not change the maps of all frames. The same frames give the same bytes in whatever order they came.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.memory import AboutBank, MemoryFiles, most_regions
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cam.memory import Bank, Origin
from wildseg.core.errors import DataError
from wildseg.execution.failures import Failures
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime
from wildseg.stages.cam.regions import check_made_by, check_not_empty
from wildseg.stages.tasks.memory import MemoryTask, decode

if TYPE_CHECKING:
    from wildseg.execution.params import Params

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # keys, values and areas of the regions of one frame


def run(params: Params, artifacts: Artifacts, runtime: Runtime, *, grow: bool, rebuild: bool) -> None:
    """Write data/memory/bank.npz, or say why it stays as it is.

    Frames that cannot be read are left out, up to the share cam.max_failures of all training frames. What was computed
    of a frame is kept, so that a run that was killed goes on where it was.

    Args:
        params: those of `cam` and `clip` decide.
        artifacts: of the project.
        runtime: where to compute.
        grow: add training frames that the bank lacks.
        rebuild: make a new bank, of the present training frames alone.

    Raises:
        DataError: no training frames, frames that cannot be read, no regions, or a bank that is broken or made
            otherwise.
        ModelError: the model cannot be had, or cannot be traced.
    """
    task, files = MemoryTask(artifacts.root, params.cam, params.clip), MemoryFiles(artifacts.root)
    frames = {frame.name: frame for frame in artifacts.load_frames("train")}
    if not frames:
        raise DataError("memory: expected key frames of the split train, found none")
    old: Bank | None = None
    digests: dict[str, str] = {}
    if os.path.lexists(files.bank_npz) and not rebuild:
        check_made_by(files, task.depends_on())
        old, digests = files.load_bank(), dict(files.load_about_bank().digests)
    lacking = [name for name in frames if name not in digests]
    if old is not None and not (grow and lacking):
        changed = [n for n in frames if n in digests and _sha256(artifacts.frame_bytes(n)) != digests[n]]
        print(_kept(files, old, changed, frames, len(lacking)))
        return
    failures = Failures("cam", params.cam.max_failures, len(frames))
    results = run_frames(task, lacking, runtime, failures)
    found = {name: decode(results.records[name]) for name in results.frames}
    origins = {own.frame: own for own in (old.frames if old else ())}
    origins |= {name: Origin(name, frames[name].source, frames[name].time_s) for name in found}
    bank = assemble(origins, by_frame(old) | found if old else found)
    check_not_empty(files, bank)
    digests |= {name: _sha256(artifacts.frame_bytes(name)) for name in found}
    files.save_bank(bank, AboutBank(task.depends_on(), digests))
    print(
        f"memory: {len(found)} frames read, {_in_words(files, bank)}{failures}{results}; "
        f"'dvc add {files.bank_npz}' and a commit let queued experiments see it"
    )


def by_frame(bank: Bank) -> dict[str, Rows]:
    """Return the regions of a bank by the name of their frame, in their order."""
    found = {}
    for number, own in enumerate(bank.frames):
        rows = bank.owners == number
        found[own.frame] = (bank.keys[rows], bank.values[rows], bank.areas[rows])
    return found


def assemble(origins: Mapping[str, Origin], regions: Mapping[str, Rows], most: int | None = None) -> Bank:
    """Return a bank of the regions of frames, sorted by the name of the frame.

    Where there are too many, those stay whose digests are lowest: a sample that depends neither on the order of frames
    nor on whether they came at once.

    Args:
        origins: of each frame.
        regions: of each frame, in their order.
        most: how many regions at most; None for what a file can hold.
    """
    names = sorted(regions)
    columns: Sequence[tuple[np.ndarray, ...]] = tuple(zip(*(regions[name] for name in names), strict=True))
    filled = [np.concatenate(parts) for parts in columns]
    owners = np.repeat(np.arange(len(names), dtype=np.int32), [len(regions[name][2]) for name in names])
    most = most_regions(filled[0].shape[1], filled[1].shape[1]) if most is None else most
    if len(owners) > most:
        lowest = sorted(range(len(owners)), key=lambda row: _digest(names[owners[row]], filled[0][row], filled[1][row]))
        kept = np.sort(lowest[:most])
        filled, owners = [part[kept] for part in filled], owners[kept]
    return Bank(filled[0], filled[1], filled[2], owners, tuple(origins[name] for name in names))


def _digest(frame: str, key: np.ndarray, value: np.ndarray) -> bytes:
    return sha256(frame.encode() + b"\0" + key.tobytes() + value.tobytes()).digest()


def _sha256(content: bytes) -> str:
    return sha256(content).hexdigest()


def _kept(files: MemoryFiles, bank: Bank, changed: Sequence[str], frames: Mapping[str, Frame], lacking: int) -> str:
    """Return the line about a bank that stays as it is."""
    parts = (
        [f"{lacking} training frames are not in it; --grow adds them"] if lacking else ["it has all training frames"]
    )
    if changed:
        parts.append(
            f"{len(changed)} of its frames look otherwise by now, such as {changed[0]!r}; --rebuild reads them"
        )
    if gone := [own.frame for own in bank.frames if own.frame not in frames]:
        parts.append(f"{len(gone)} of its frames are no training frames any more, such as {gone[0]!r}")
    return f"memory: nothing done, the bank is frozen: {_in_words(files, bank)}; {'; '.join(parts)}"


def _in_words(files: MemoryFiles, bank: Bank) -> str:
    digest = files.bank_digest()[:12]
    return f"{files.bank_npz} has {len(bank):,} regions of {len(bank.frames):,} frames, digest {digest}"
