"""Processes that a command starts: they end with it, however it ends, and do not handle Ctrl-C.

A process that was killed cannot end its children, which would wait, or continue to write, forever. So each child
follows its parent from its first moment: on Linux the kernel kills it when its parent dies, also in the middle of
C code; everywhere a thread waits for the parent's end.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

PR_SET_PDEATHSIG = 1  # of Linux's prctl(2)


class Child(SpawnProcess):
    """A spawned process that ends when the one that started it is gone, and that a Ctrl-C does not reach."""

    _followed = 0  # the process to end with, where the kernel can do so

    def start(self) -> None:
        """Start; a Ctrl-C meanwhile is raised when that is done, so that no child is left half-started."""
        # The kernel takes the end of the thread that started a process for that of its parent.
        self._followed = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        _start_tracker()  # nothing where it runs; started within, it would lift the block
        with _starting, without_interrupts():
            super().start()

    def __reduce__(self) -> tuple[Any, ...]:
        """Have what arrives in the new process follow its parent before anything else, imports among it, is done."""
        return _arrive, (self._followed,), self.__dict__

    def run(self) -> None:
        """Wait for the parent's end on one thread, and work on this one."""
        follow_parent()
        super().run()


class _Context(SpawnContext):
    # Fresh interpreters rather than forks: a fork of a process whose libraries hold threads may deadlock.
    Process = Child  # type: ignore[assignment]


def context() -> SpawnContext:
    """Return the context for `ProcessPoolExecutor` or torch's `DataLoader` by which they start `Child` processes."""
    _start_tracker()
    return _Context()


_starting = threading.RLock()


def kill_all(*, last: bool = False) -> None:
    """Kill all children of this process at once; what they wrote is whole, since files are renamed into place.

    With `last` this process ends next: no further child is started, whose instructions would be incomplete.
    """
    taken = _starting.acquire(timeout=1.0)
    for child in multiprocessing.active_children():
        child.kill()
    if taken and not last:
        _starting.release()


def end_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent is gone; return False where it cannot, or where that is over.

    Args:
        parent: the process number that the parent is expected to have.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent  # checked afterwards: it may have ended before


def follow_parent(_: int = 0) -> None:
    """End this process when the one that started it by `multiprocessing` is gone."""
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _arrive(parent: int) -> Child:
    if parent and not end_with(parent):
        os._exit(1)
    return Child.__new__(Child)


def _start_tracker() -> None:
    # It removes the semaphores of a killed process, as is its purpose: no warning is needed.
    quiet = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(quiet)
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(quiet)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Defer a Ctrl-C to the end of the ``with``, as where processes are started; a child started in it gets none."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # A child inherits the block for good. Python is not held up, since another thread may receive the signal.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    came: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if came and callable(handler):
            signal.raise_signal(signal.SIGINT)
