"""Captures FFmpeg's error messages call by call, instead of printing them."""

from __future__ import annotations

import threading
from typing import NamedTuple

import av.logging


class LogMessage(NamedTuple):
    """One message of level ERROR or worse, and the part of FFmpeg it is from: a decoder's or container's name."""

    by: str
    text: str


class CapturedErrors:
    """Within a `with`, catches the errors that FFmpeg reports in this thread; complete when its body is done.

    PyAV's log level is one for the whole process. It is raised only as long as anybody listens: otherwise PyAV drops
    messages before they reach Python, so that nothing is printed of what others do with PyAV in this process, and no
    thread of FFmpeg's waits for Python's lock. A decoder must run without threads of its own, whose messages come
    from there.
    """

    _lock = threading.Lock()
    _listeners = 0
    _before: tuple[int | None, bool] = (None, True)

    def __init__(self) -> None:
        """Prepare to listen, in this thread."""
        self._capture = av.logging.Capture()
        self._messages: list[tuple[int, str, str]] = []

    def __enter__(self) -> CapturedErrors:
        """Listen."""
        with CapturedErrors._lock:
            if not CapturedErrors._listeners:
                level = av.logging.get_level()
                CapturedErrors._before = level, av.logging.get_skip_repeated()
                av.logging.set_level(av.logging.ERROR if level is None else max(av.logging.ERROR, level))
                av.logging.set_skip_repeated(False)  # the same message of another frame is news
            CapturedErrors._listeners += 1
        self._messages = self._capture.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """Listen no more; what was heard stays."""
        self._capture.__exit__(None, None, None)
        with CapturedErrors._lock:
            CapturedErrors._listeners -= 1
            if not CapturedErrors._listeners:
                level, skip_repeated = CapturedErrors._before
                av.logging.set_level(level)
                av.logging.set_skip_repeated(skip_repeated)

    @property
    def errors(self) -> list[LogMessage]:
        """The messages in order."""
        errors = [message for message in self._messages if message[0] <= av.logging.ERROR]
        return [LogMessage(by, " ".join(text.split())) for _, by, text in errors]

    def of(self, part: str) -> bool:
        """Return whether this part of FFmpeg reported an error."""
        return any(log.by == part for log in self.errors)
