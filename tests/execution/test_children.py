"""Processes that a command starts end with it, however it ends, and leave Ctrl-C to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.execution.pool import each
from tests.programs import SOURCE

# A parent with a child that sleeps, or computes in C code that lets no thread of Python run, or is only being started.
PARENT = """
import sys, time
from wildseg.execution import children

def compute(): sum(range(10**13))
def wait(): time.sleep(600)
def nothing(): pass

if __name__ == "__main__":
    child = children.context().Process(target=globals()[sys.argv[1]])
    child.start()
    print(child.pid, flush=True)
    time.sleep(600)
"""


def ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def until_ended(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 60
    while not all(map(ended, processes)):
        assert time.monotonic() < deadline, processes
        time.sleep(0.01)


@pytest.mark.parametrize("begun", [False, True], ids=["as it starts", "at work"])
@pytest.mark.parametrize("work", ["wait", "compute"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_process_that_was_killed(
    number: signal.Signals, work: str, begun: bool, tmp_path: Path
) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(
        [sys.executable, "parent.py", work], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        child = psutil.Process(int(process.stdout.readline()))
        started = psutil.Process(process.pid).children(recursive=True)  # the one that cleans up after both, too
        assert len(started) == 2
        if begun:
            while child.is_running() and child.cpu_times().user < 0.2 and work == "compute":
                time.sleep(0.01)
        process.send_signal(number)
        until_ended(started)
        process.wait()
        assert "semaphore" not in process.stderr.read()


def blocks_interrupts(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ctrl_c_reaches_the_parent_alone() -> None:
    assert all(each(blocks_interrupts, range(4), 2))
    assert not blocks_interrupts(0)


# A Ctrl-C at the worst moment: when the child's process is there and has not been told yet what to do. It is a program
# of its own, since the kernel may hand a signal for this process to a thread that some library of another test has
# left, and then at any time.
INTERRUPTED = """
import os, signal, time
from multiprocessing import util
from wildseg.execution import children

spawn = util.spawnv_passfds

def interrupted(*arguments):
    process = spawn(*arguments)
    os.kill(os.getpid(), signal.SIGINT)
    return process

if __name__ == "__main__":
    context = children.context()
    util.spawnv_passfds = interrupted
    child = context.Process(target=time.sleep, args=(0,))
    try:
        child.start()
        print("started without a word of it")
    except KeyboardInterrupt:
        util.spawnv_passfds = spawn
        child.join()
        print("raised;", child.exitcode)
"""


def test_a_ctrl_c_while_a_child_starts_is_raised_when_it_has(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, "interrupted.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(SOURCE)},
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("raised; 0\n", "", 0)


def test_all_are_killed_at_once_where_that_is_asked_for() -> None:
    from wildseg.execution import children

    started = [children.context().Process(target=time.sleep, args=(600,)) for _ in range(2)]
    for child in started:
        child.start()
    children.kill_all()
    for child in started:
        child.join()
    assert [child.exitcode for child in started] == [-signal.SIGKILL] * 2
