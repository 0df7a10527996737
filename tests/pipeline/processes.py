"""The processes that work on a project: found by where they are and how they were started, and waited for."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.pipeline.conftest import Project

WORKERS = {"WILDSEG_WORKERS": "2"}
PATIENCE = 400.0  # seconds that anything may take to begin
MOMENT = 0.05  # seconds between two looks at all processes, which take a core for as long
GONE = 30.0  # seconds in which all must have ended, on a machine that is busy


def start(project: Project, log: Path, *command: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with two workers; what it says goes to `log`."""
    with log.open("w") as stream:
        return subprocess.Popen(
            command,
            cwd=project.folder, env=project.environment() | WORKERS | environment, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip


def of(project: Project) -> list[psutil.Process]:
    """Return all processes whose folder, or command line, is in the project's."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if process.pid != os.getpid() and (process.cwd() == str(project.folder) or str(project.folder) in line):
                found.append(process)
    return found


def kind(process: psutil.Process) -> str:
    """Say what a process is: dvc, the main process of a stage, a worker of it, or something else."""
    with suppress(psutil.Error):
        words = process.cmdline()
        if "spawn_main" in " ".join(words):
            return "worker"
        for program in ("dvc", "wildseg"):
            if any(Path(word).name == program for word in words[:3]):  # -IS comes first in clients of tests.forks
                return {"wildseg": "stage"}.get(program, program)
    return ""


def the(what: str, project: Project) -> psutil.Process:
    """Return the first process of a kind."""
    return next(process for process in of(project) if kind(process) == what)


def until(true: Callable[[], object], said: Path) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(MOMENT)


@contextmanager
def standing_still(project: Project) -> Iterator[None]:
    """Have all that is at work on a project wait."""
    stopped = of(project)
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


def left_after(started: Sequence[subprocess.Popen[bytes]], project: Project) -> list[list[str]]:
    """Return the command lines of the project's processes that have not ended within a few seconds."""
    deadline = time.monotonic() + GONE
    while time.monotonic() < deadline:
        if not of(project):  # what has ended and was not waited for is none
            for process in started:
                process.wait()
            return []
        time.sleep(MOMENT)
    return [process.cmdline() for process in of(project)]
