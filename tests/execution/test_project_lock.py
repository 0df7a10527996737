"""One writer per project folder: who is second waits a little and is told in a line who was first."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.pool import each
from tests.programs import SOURCE
from wildseg.core.errors import WildsegError
from wildseg.execution import launcher, parents, project_lock
from wildseg.execution.project_lock import FILE, HOLDER, held

HOLD = """
import sys
from pathlib import Path
from wildseg.project_lock import held
with held(Path(), "cam"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_lock, "SECONDS", 0.3)
    for variable in (HOLDER, parents.STAGE, launcher.DONE, *launcher.SIZES, *launcher.RANKS):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path`."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def take(root: Path) -> None:
    with held(root, "crf"):
        pass


def test_the_second_is_told_who_the_first_is(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(WildsegError) as caught:
        take(tmp_path)
    who = rf"'wildseg' writes this project \(process {holder.pid}, by hand, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\)"
    assert re.fullmatch(f"crf: {who}; wait until it ends, or stop it", str(caught.value))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_that_was_killed_is_free(
    number: signal.Signals, holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.send_signal(number)
    holder.wait()
    assert (tmp_path / FILE).stat().st_size  # what it said of itself stays, and is not believed
    take(tmp_path)


def test_a_named_pipe_in_its_place_is_not_read(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    os.mkfifo(tmp_path / FILE)
    take(tmp_path)


def test_it_is_free_after_use_also_where_the_stage_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path, "cam"):
        _ = 1 / 0
    take(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b""


def test_who_comes_by_another_path_is_second_and_another_folder_is_another_project(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    with held(tmp_path / "one", "cam"):
        take(tmp_path / "two")
        with pytest.raises(WildsegError, match="writes this project"):
            take(tmp_path / "link")


def test_a_folder_that_was_cleared_away_is_locked_anew(tmp_path: Path) -> None:
    with held(tmp_path, "cam"):
        (tmp_path / FILE).unlink()
    take(tmp_path)
    assert (tmp_path / FILE).exists()


def test_what_a_launcher_starts_works_under_its_lock_and_nothing_else_does(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = json.loads((tmp_path / FILE).read_text())["token"]
    for wrong in ("", token[:-1], "0" * len(token)):
        monkeypatch.setenv(HOLDER, wrong)
        with pytest.raises(WildsegError, match="writes this project"):
            take(tmp_path)
    monkeypatch.setenv(HOLDER, token)
    take(tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["pid"] == holder.pid


def test_a_process_that_does_not_lead_needs_no_lock(
    holder: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    take(tmp_path)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(WildsegError, match="writes this project"):
        take(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_without_locks_one_line_says_so_and_the_stage_goes_on(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    take(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"crf: {tmp_path / FILE} cannot be locked ({os.strerror(number)})")


def open_files(_: int) -> list[str]:
    return [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]  # noqa: PTH208


def test_no_worker_inherits_it(tmp_path: Path) -> None:
    with held(tmp_path, "cam"):
        assert str(tmp_path / FILE) in open_files(0)
        assert not any(str(tmp_path / FILE) in found for found in each(open_files, range(4), 2))
