"""Progress of everything longer than a few seconds: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0
MEGABYTE = 1e6


def track(items: Iterable[Item], total: int | None, description: str) -> Iterator[Item]:
    """Yield `items`, showing progress out of `total`; `None`: unknown."""
    if sys.stderr.isatty():
        from tqdm import tqdm  # a tenth of the start-up time of a light command, and unused where output is a log

        yield from tqdm(items, total=total, desc=description, dynamic_ncols=True, leave=True)
        return
    yield from _lines(items, total, description)


def _lines(items: Iterable[Item], total: int | None, description: str) -> Iterator[Item]:
    # A log file cannot redraw a bar: it gets whole lines, the last one always.
    start = last = first = time.monotonic()
    done = 0
    reported = -1
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        first = now if done == 1 else first
        if now - last >= SECONDS_BETWEEN_LINES:
            last, reported = now, done
            # The first item also waited for models to be loaded, which the next ones do not.
            pace = (now - first) / (done - 1) if done > 1 else None
            _report(description, done, total, now - start, pace)
    if reported != done:
        _report(description, done, total, time.monotonic() - start)


def _report(description: str, done: int, total: int | None, seconds: float, pace: float | None = None) -> None:
    of = f"/{total}" if total is not None else ""
    rate = f", {_pace(done, seconds)}" if seconds > 0 and done else ""
    left = f", {(total - done) * pace:.0f} s left" if total and pace is not None and done < total else ""
    print(f"{description}: {done}{of} in {seconds:.0f} s{rate}{left}", file=sys.stderr, flush=True)


def _pace(done: int, seconds: float) -> str:
    return f"{done / seconds:.1f}/s" if done >= seconds else f"{seconds / done:.1f} s each"


def note(stage: str, lines: Iterable[str]) -> None:
    """Print notes for the user, a line each."""
    for line in lines:
        print(f"{stage}: {line}", file=sys.stderr, flush=True)


class Bytes:
    """Progress of one download, in megabytes; the interface that huggingface_hub expects (its `tqdm_class`).

    In a terminal it is a bar of tqdm. Elsewhere lines report the start and size of a download, its progress now and
    then, and its end; files below a megabyte are not reported.
    """

    def __init__(self, *, desc: str = "", total: float | None = None, initial: float = 0, **_: object) -> None:
        """Begin; `total` and `initial` in bytes, `total` None: unknown."""
        self.total, self.n = total, initial
        self._description, self._start, self._first = desc, time.monotonic(), initial
        self._last = self._start
        self._closed = False
        self._bar: tqdm[NoReturn] | None = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                desc=desc, total=total, initial=int(initial), unit="B", unit_scale=True, dynamic_ncols=True
            )
        elif not self._small:
            size = "" if total is None else f", {total / MEGABYTE:.1f} MB"
            print(f"{desc}: download begins{size}", file=sys.stderr, flush=True)

    @property
    def _small(self) -> bool:
        return self.total is not None and self.total < MEGABYTE

    def update(self, number: float | None = 1) -> None:
        """Count `number` more bytes; negative where a download starts over."""
        self.n += number or 0
        if self._bar is not None:
            self._bar.update(number)
        elif (now := time.monotonic()) - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            self._report(now - self._start)

    def close(self) -> None:
        """End, with a last line of progress."""
        if self._bar is not None:
            self._bar.close()
        elif not self._small and not self._closed:
            self._report(time.monotonic() - self._start)
        self._closed = True

    def set_description(self, desc: str | None = None, refresh: bool = True) -> None:
        """Ignore it: libraries give the name of a file."""

    def refresh(self, *_: object, **__: object) -> None:
        """Do nothing: lines cannot be redrawn."""

    def update_transfer(self, number: float | None = 1) -> None:
        """Do nothing: what came over the wire is counted once it is in the file."""

    def __enter__(self) -> Bytes:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.close()

    def _report(self, seconds: float) -> None:
        done, loaded = self.n / MEGABYTE, max(self.n - self._first, 0)
        of = f"/{self.total / MEGABYTE:.1f}" if self.total else ""
        missing = self.total - self.n if self.total else 0
        left = f", {missing * seconds / loaded:.0f} s left" if missing > 0 and loaded else ""
        rate = f", {loaded / MEGABYTE / seconds:.1f} MB/s" if seconds > 0 else ""
        print(f"{self._description}: {done:.1f}{of} MB in {seconds:.0f} s{rate}{left}", file=sys.stderr, flush=True)


def bytes_of(description: str) -> type[Bytes]:
    """Return `Bytes` under this name, whatever name of a file a library has for what it loads."""

    class Named(Bytes):
        def __init__(self, **options: Any) -> None:  # noqa: ANN401
            super().__init__(**{**options, "desc": description})

    return Named
