"""What the last run left: who writes the project now, half trainings, entries of killed processes, temporary files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from wildseg.cli.doctor import git
from wildseg.cli.doctor.finding import Finding, age
from wildseg.core.errors import WildsegError
from wildseg.core.files import load_json
from wildseg.execution import project_lock, repair
from wildseg.execution.cache_usage import readable

TEMPORARY = re.compile(r"\..+\.(\d+)(\.[^.]*)?")  # `atomic` puts the process into the name
WRITTEN = ("data", "models", "metrics")
QUEUE = "refs/exps/celery/stash"  # of DVC


def check(root: Path) -> Iterator[Finding]:
    """Yield who works on the project now, and what killed runs left."""
    if line := project_lock.holder(root):
        yield Finding("stop", line, "wait until it ends, or stop it")
    yield from _processes(root / ".dvc" / "tmp" / "rwlock")
    for path in sorted((root / ".wildseg").glob("*/**/state.safetensors")):
        with suppress(OSError):
            size = readable(path.stat().st_size)
            yield Finding("note", f"a training was interrupted: {path.relative_to(root)} ({size}, {age(path)})",
                          "'dvc repro' continues it where nothing that it depends on changed")  # fmt: skip
    if (root / ".wildseg/classes/journal.json").is_file():
        yield Finding(
            "stop",
            "a change of classes was interrupted while files moved",
            "run the same 'wildseg classes' command again",
        )
    for path in sorted(root.glob("**/dvc.lock.torn")) if (root / "dvc.lock.torn").exists() else ():
        yield Finding(
            "note", f"'wildseg repair' left {path.relative_to(root)}", "remove it once 'dvc repro' is through"
        )
    if left := list(temporary_files(root)):
        size = readable(sum(path.stat().st_size for path in left))
        text = f"killed processes left {len(left)} temporary files ({size}), such as {left[0].relative_to(root)}"
        yield Finding("note", text,
                      "the stage that wrote them removes them; or remove them")  # fmt: skip
    copies = [path.name for path in (root / ".dvc" / "tmp" / "exps").glob("*/dvc.yaml")]
    copies += [path.parent.name for path in (root / ".dvc" / "tmp" / "exps").glob("*/*/dvc.yaml")]
    if copies:
        yield Finding("note", f"{len(copies)} folders of experiments are in .dvc/tmp/exps: they run, or were killed",
                      "'dvc queue status' lists those that run; others may be removed")  # fmt: skip
    if queued := git.lines(root, "reflog", "show", "-z", "--format=%H", QUEUE):
        yield Finding("note", f"{len(queued)} experiments wait in the queue of DVC", "dvc exp run --run-all")


def _processes(table: Path) -> Iterator[Finding]:
    """Yield one line for each process that DVC's table of files names and that is at work, or was killed."""
    if not table.is_file():
        return
    try:
        content = load_json(table)
        entries = [
            *content.get("write", {}).values(),
            *(one for own in content.get("read", {}).values() for one in own),
        ]
        commands = {int(entry["pid"]): str(entry["cmd"]) for entry in entries}
    except (WildsegError, ValueError, KeyError, TypeError, AttributeError):
        yield Finding("stop", f"{table.name} of DVC is incomplete, as after a kill", "wildseg repair")
        return
    for number, command in commands.items():
        if repair.is_zombie(number):
            yield Finding("stop", f"DVC waits for a process that was killed ({number})", "wildseg repair")
        elif psutil.pid_exists(number):
            first, *rest = command.split()
            named = " ".join([Path(first).name, *rest])
            yield Finding("stop", f"'{named}' is at work on this project (process {number})", "wait until it ends")


def temporary_files(root: Path) -> Iterator[Path]:
    """Yield files that processes which no longer run were writing."""
    for name in WRITTEN:
        for folder, folders, names in os.walk(root / name):
            folders[:] = [inner for inner in folders if inner != "__pycache__"]
            for file in names:
                if (match := TEMPORARY.fullmatch(file)) and not psutil.pid_exists(int(match[1])):
                    yield Path(folder, file)
