"""What FFmpeg itself says is wrong, caught call by call instead of going to the terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import av.logging


class Said(NamedTuple):
    """One message of level ERROR or worse, and the part of FFmpeg it is from: a decoder's or container's name."""

    by: str
    text: str


class _Level:
    """PyAV's log level, which is one for the whole process, raised as long as anybody listens.

    Where nobody does, PyAV drops all messages before they reach Python: no thread of FFmpeg's then waits for Python's
    lock, and nothing is printed of what others do with PyAV in this process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners = 0
        self._before: tuple[int | None, bool] = (None, True)

    def __enter__(self) -> None:
        with self._lock:
            if not self._listeners:
                self._before = av.logging.get_level(), av.logging.get_skip_repeated()
                av.logging.set_level(max(av.logging.ERROR, self._before[0] or 0))
                av.logging.set_skip_repeated(False)  # the same message of another frame is news
            self._listeners += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._listeners -= 1
            if not self._listeners:
                level, skip_repeated = self._before
                av.logging.set_level(level)
                av.logging.set_skip_repeated(skip_repeated)


_LEVEL = _Level()


@contextmanager
def errors_said() -> Iterator[list[Said]]:
    """Give the list that fills with the errors which FFmpeg reports in this thread; complete when the body is done.

    A decoder must run without threads of its own, whose messages come from other threads.
    """
    errors: list[Said] = []
    with _LEVEL, av.logging.Capture() as messages:
        try:
            yield errors
        finally:
            errors += [Said(by, " ".join(text.split())) for level, by, text in messages if level <= av.logging.ERROR]
