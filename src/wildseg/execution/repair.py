"""Repair of DVC's own files that a kill or a power cut left incomplete or locked.

wildseg renames its files into place. DVC writes two of its own in place: ``dvc.lock`` after each stage, and
``.dvc/tmp/rwlock`` before and after each. A kill at these moments leaves half a file, and every later `dvc repro` fails
at it. So it does at an entry of ``rwlock`` whose process was killed and whose parent never waited for it. Neither file
holds results: a stage that is missing in dvc.lock is found in DVC's run cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from wildseg.core.errors import WildsegError
from wildseg.core.files import atomic

PIPELINES = ("dvc.lock", "*/dvc.lock", "*/*/dvc.lock")  # the project's own, and those of the sample


def repair(root: Path) -> list[str]:
    """Repair the project folder `root`; return one line for each file that was changed.

    Raises:
        WildsegError: a DVC command is running here, which would be disturbed.
    """
    temporary = root / ".dvc" / "tmp"
    if not temporary.is_dir():
        raise WildsegError(
            f"{root.resolve()}: expected a project of DVC, found no .dvc/tmp; no DVC command has run here"
        )
    with _held(root, "lock"), _held(root, "rwlock.lock"):
        report = _repair_rwlock(temporary / "rwlock")
        for pattern in PIPELINES:
            for path in filter(Path.is_file, sorted(root.glob(pattern))):
                report += _repair_lockfile(path)
    return report


@contextmanager
def _held(root: Path, name: str) -> Iterator[None]:
    # The same lock that DVC takes before it writes: a killed process no longer holds it.
    from dvc.config import Config
    from dvc.lock import LockError, make_lock

    settings = Config(dvc_dir=str(root / ".dvc"))["core"]
    temporary = root / ".dvc" / "tmp"
    hardlink = settings.get("hardlink_lock", False)
    try:
        lock = make_lock(str(temporary / name), tmp_dir=str(temporary), friendly=False, hardlink_lock=hardlink)
        lock.lock()
    except LockError as error:
        raise WildsegError(
            f"{temporary / name}: a DVC command is running here; wait until it ends, then try again"
        ) from error
    try:
        yield
    finally:
        lock.unlock()


def _repair_rwlock(path: Path) -> list[str]:
    # It names running processes. DVC itself removes the entries of those that have ended, but waits forever for one
    # that was killed and whose exit status was never read, as in a container without an init process.
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    if not path.is_file():
        return []
    try:
        content = SCHEMA(json.loads(path.read_bytes()))
    except (ValueError, RecursionError, Invalid):
        path.unlink()
        return [f"{path}: incomplete, removed"]
    writes = {name: line for name, line in content["write"].items() if not is_zombie(line["pid"])}
    reads = {name: [line for line in lines if not is_zombie(line["pid"])] for name, lines in content["read"].items()}
    if (writes, reads) == (content["write"], content["read"]):
        return []
    with atomic(path) as temporary:
        temporary.write_text(json.dumps({"write": writes, "read": {name: own for name, own in reads.items() if own}}))
    return [f"{path}: entries of killed processes are removed"]


def is_zombie(process: int) -> bool:
    """Return whether a process was killed, and its parent has never waited for it."""
    import psutil

    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:  # it has ended, or is another user's: DVC handles both
        return False


def _repair_lockfile(path: Path) -> list[str]:
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines(keepends=True)
    if readable("".join(lines)):
        return []
    if holds_a_merge("".join(lines)):
        raise WildsegError(f"{path}: it holds both sides of a merge; choose one, or 'git checkout --ours {path}'")
    path.replace(path.with_name(f"{path.name}.torn"))
    # What precedes the cut is valid. Cut back to the beginning of a stage, until DVC can read the rest.
    begins = [number for number, line in enumerate(lines) if 0 < len(line) - len(line.lstrip(" ")) < 4]
    for begin in reversed(begins):
        text = "".join(lines[:begin])
        if readable(text):
            with atomic(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            left = len(yaml.safe_load(text).get("stages", ()))
            return [f"{path}: incomplete, cut back to {left} complete stages; the former file is {path.name}.torn"]
    return [f"{path}: incomplete before its first complete stage, removed; the former file is {path.name}.torn"]


def holds_a_merge(text: str) -> bool:
    """Return whether the text of a file holds both sides of a merge of git."""
    return any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines())


def readable(text: str) -> bool:
    """Return whether the text of a dvc.lock is complete and what DVC requires."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # what DVC itself requires
    from voluptuous import Invalid

    try:
        content = COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))
    except (yaml.YAMLError, RecursionError, Invalid):
        return False
    # The last value may be cut short and still be a string: complete files end with a line end.
    return bool(content.get("stages") or content.get("datasets")) and text.endswith("\n")
