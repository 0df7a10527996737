"""Programs that begin as forks are to their callers what they are by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import psutil
import pytest

from tests.forks import CLIENT, POSSIBLE, Workers
from wildseg.execution import children

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="this system has no pidfd")

PROGRAM = """
import os, sys
import wildseg, torch
print(wildseg.__file__, os.getcwd(), sys.argv, os.environ["WORD"], sys.stdin.read())
print("to stderr", file=sys.stderr)
sys.exit(7)
"""


def client(forks: Path, folder: Path, program: str) -> Path:
    """Write a program and the client that has it run as a fork."""
    (folder / "program.py").write_text(program)
    address, python = forks / "socket", (forks / "dvc").read_text().split()[0].removeprefix("#!")
    path = folder / "client"
    path.write_text(CLIENT.format(python=python, address=str(address), program=str(folder / "program.py")))
    path.chmod(0o755)
    return path


def test_a_fork_has_its_callers_folder_arguments_environment_input_outputs_and_code(
    forks: Path, tmp_path: Path
) -> None:
    (tmp_path / "code" / "wildseg").mkdir(parents=True)
    (tmp_path / "code" / "wildseg" / "__init__.py").touch()
    done = subprocess.run(
        [client(forks, tmp_path, PROGRAM), "one", "two words"], cwd=tmp_path, input="what it reads",
        env={"PYTHONPATH": "code", "WORD": "a word"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    code, arguments = tmp_path / "code" / "wildseg" / "__init__.py", [str(tmp_path / "program.py"), "one", "two words"]
    assert done.stdout == f"{code} {tmp_path} {arguments} a word what it reads\n"
    assert done.stderr == "to stderr\n"
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("program", "code", "errors"),
    [
        ("", 0, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import atexit, sys; atexit.register(print, 'last', file=sys.stderr)", 0, "last\n"),
    ],
)
def test_a_fork_ends_as_a_program_does(program: str, code: int, errors: str, forks: Path, tmp_path: Path) -> None:
    done = subprocess.run([client(forks, tmp_path, program)], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.endswith(errors)
    assert bool(done.stderr) == bool(errors)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_to_the_client_reaches_the_fork(number: signal.Signals, forks: Path, tmp_path: Path) -> None:
    program = client(forks, tmp_path, "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    with subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        fork = psutil.Process(int(process.stdout.readline()))
        process.send_signal(number)
        assert process.wait() == -number
    deadline = time.monotonic() + 60
    while fork.is_running() and fork.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_forked_worker_has_the_environment_of_its_start(
    forked_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = children.context()
    assert isinstance(context, Workers)
    for text in ("one", "two"):
        monkeypatch.setenv("WORD", text)
        queue = context.SimpleQueue()
        worker = context.Process(target=put_word, args=(queue,))
        worker.start()
        assert queue.get() == text
        worker.join()


def put_word(queue: SimpleQueue[str]) -> None:
    queue.put(os.environ["WORD"])
