"""A stage ends with the `dvc` that started it, whatever stands between and whatever it does; by hand it does not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.programs import SOURCE
from wildseg.execution import launcher, parents

# In place of dvc: starts what it is given, as DVC does it, and waits for it.
DVC = "import os, subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], env={**os.environ, 'DVC_STAGE': 'cam'}))"
WATCH = "import os, pathlib, time; from wildseg.execution import parents; parents.watch(); pathlib.Path('pid').write_text(f'{os.getpid()}'); "  # noqa: E501
WAITS = WATCH + "time.sleep(600)"
COMPUTES = WATCH + "sum(range(10**13))"  # in C code that lets no other thread of Python run


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    for variable in (parents.STAGE, launcher.DONE, *launcher.SIZES):
        monkeypatch.delenv(variable, raising=False)


@contextmanager
def started(folder: Path, *command: str) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """Start a command; give its process, and the one that watches, once it does."""
    with subprocess.Popen(command, cwd=folder, start_new_session=True) as process:
        until(lambda: (folder / "pid").exists() and (folder / "pid").read_text())
        watching = psutil.Process(int((folder / "pid").read_text()))
        try:
            yield psutil.Process(process.pid), watching
        finally:
            for one in (psutil.Process(process.pid), watching):
                if one.is_running():
                    one.kill()


def until(true: object) -> None:
    deadline = time.monotonic() + 60
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-c", WAITS),
        (sys.executable, "-c", COMPUTES),
        ("sh", "-c", f'{sys.executable} -c "{WAITS}"; true'),
        ("timeout", "600", "sh", "-c", f'{sys.executable} -c "{WAITS}"; true'),
    ],
    ids=["directly", "in C code", "by a shell", "by a time limit and a shell"],
)
def test_it_ends_with_dvc(command: tuple[str, ...], tmp_path: Path) -> None:
    with started(tmp_path, sys.executable, "-c", DVC, *command) as (dvc, stage):
        dvc.kill()
        until(lambda: gone(stage))


def test_it_ends_with_the_shell_that_dvc_started_it_by(tmp_path: Path) -> None:
    with started(tmp_path, sys.executable, "-c", DVC, "sh", "-c", f'{sys.executable} -c "{WAITS}"; true') as (_, stage):
        stage.parent().kill()
        until(lambda: gone(stage))


def test_where_the_kernel_does_not_tell_it_looks(tmp_path: Path) -> None:
    nothing = (
        "import os; from wildseg.execution import children; children.PR_SET_PDEATHSIG = 0; "
        "os.pidfd_open = lambda _: open('-')"
    )
    code = f"{nothing}; {WAITS}"
    with started(tmp_path, sys.executable, "-c", DVC, "sh", "-c", f'{sys.executable} -c "{code}"; true') as (
        dvc,
        stage,
    ):
        dvc.kill()
        until(lambda: gone(stage))


def test_by_hand_it_outlives_its_shell(tmp_path: Path) -> None:
    with started(tmp_path, "sh", "-c", f'{sys.executable} -c "{WAITS}"; true') as (shell, stage):
        shell.kill()
        until(lambda: gone(shell))
        time.sleep(3 * parents.SECONDS)
        assert not gone(stage)


def test_it_ends_with_its_launcher_also_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with started(tmp_path, "sh", "-c", f'{sys.executable} -c "{WAITS}"; true') as (launcher, stage):
        launcher.kill()
        until(lambda: gone(stage))


def test_it_does_not_begin_where_dvc_is_gone_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Taken in by whoever takes in orphans here, which may be a Python that is told from dvc by nothing.
    began = "import os, pathlib; pathlib.Path('began').write_text(f'{os.getpid()}'); "
    monkeypatch.setenv(
        "CODE", f"{began}from wildseg.execution import parents; parents.looks_like_dvc = lambda _: False; {WAITS}"
    )
    monkeypatch.setenv(parents.STAGE, "cam")
    orphan = f"setsid sh -c 'sleep 0.5; exec {sys.executable} -c \"$CODE\"' & exit 0"
    subprocess.run(["sh", "-c", orphan], cwd=tmp_path, check=True)
    until(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text())
    with suppress(psutil.NoSuchProcess):
        stage = psutil.Process(int((tmp_path / "began").read_text()))
        until(lambda: gone(stage) or (tmp_path / "pid").exists())
        stage.kill()
    assert not (tmp_path / "pid").exists()
