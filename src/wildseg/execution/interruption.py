"""Ctrl-C and SIGTERM: one line, workers gone, and the exit codes that a shell gives for them, 130 and 143."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from wildseg.execution import children

SECONDS = 1.0  # after a Ctrl-C to close what is open, such as the run in MLflow
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

_reported = threading.Event()


@contextmanager
def handled() -> Iterator[None]:
    """Kill workers on Ctrl-C or SIGTERM, and end: by KeyboardInterrupt with time to close files, or at once.

    A thread does so, since C code in the main thread or a library that waits would delay it.
    """
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        yield
        return
    _reported.clear()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = signal.signal(signal.SIGTERM, _defer_to_the_thread)
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, as in the background
    if usual:
        signal.signal(signal.SIGINT, _first)
    watcher = threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if usual and signal.getsignal(signal.SIGINT) is _first:  # once one came, none counts up to the end
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(before_fd)
        os.close(writing)  # which ends the thread
        watcher.join()
        os.close(reading)


def stopped(number: signal.Signals) -> str:
    """Return the line about the signal that stopped this command; empty if it was returned before."""
    if _reported.is_set():
        return ""
    _reported.set()
    by = "Ctrl-C" if number == signal.SIGINT else number.name
    start = "\n" if sys.stderr.isatty() else ""  # a bar of progress may stand in this line of a terminal
    return f"{start}wildseg: stopped by {by}; run the same again to go on\n"


def _defer_to_the_thread(*_: object) -> None:
    """Do nothing: a handler keeps the signal from ending the process, and its number is written to the pipe."""


def _first(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, and ignore any further Ctrl-C while files are closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.default_int_handler(number, frame)


def _watch(reading: int) -> None:
    while content := os.read(reading, 1):
        if content[0] == signal.SIGTERM:
            children.kill_all(last=True)
            _exit(signal.SIGTERM)
        if content[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) in (_first, signal.SIG_IGN):
            threading.Thread(target=_end_soon, daemon=True).start()
            children.kill_all()


def _end_soon() -> None:
    time.sleep(SECONDS)
    _exit(signal.SIGINT)


def _exit(number: signal.Signals) -> None:
    with suppress(OSError):
        os.write(2, stopped(number).encode())  # the main thread may hold the lock of `print`
    os._exit(CODES[number])
