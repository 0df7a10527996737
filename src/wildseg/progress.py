"""Progress of everything longer than a few seconds: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[Item], total: int | None, description: str) -> Iterator[Item]:
    """Yield `items`, showing how many of `total` are done; `None` means that the number is not known."""
    if sys.stderr.isatty():
        from tqdm import tqdm  # takes a tenth of the start of a light command, and most runs write to a log

        yield from tqdm(items, total=total, desc=description, dynamic_ncols=True, leave=True)
        return
    yield from _lines(items, total, description)


def _lines(items: Iterable[Item], total: int | None, description: str) -> Iterator[Item]:
    # A log file cannot redraw a bar: it gets whole lines, the last one always.
    start = last = first = time.monotonic()
    done = 0
    said = -1
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        first = now if done == 1 else first
        if now - last >= SECONDS_BETWEEN_LINES:
            last, said = now, done
            # The first item also waited for models to be loaded, which says nothing about those to come.
            pace = (now - first) / (done - 1) if done > 1 else None
            _say(description, done, total, now - start, pace)
    if said != done:
        _say(description, done, total, time.monotonic() - start)


def _say(description: str, done: int, total: int | None, seconds: float, pace: float | None = None) -> None:
    of = f"/{total}" if total is not None else ""
    rate = f", {_pace(done, seconds)}" if seconds > 0 and done else ""
    left = f", {(total - done) * pace:.0f} s left" if total and pace is not None and done < total else ""
    print(f"{description}: {done}{of} in {seconds:.0f} s{rate}{left}", file=sys.stderr, flush=True)


def _pace(done: int, seconds: float) -> str:
    return f"{done / seconds:.1f}/s" if done >= seconds else f"{seconds / done:.1f} s each"
