"""One function over many frames, on all cores of this machine, results in order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from wildseg.errors import WildsegError

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # items in flight per worker: enough to keep all busy, few enough to keep memory flat


def each(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for each of `items`, in their order, computed by `workers` processes.

    `function` must be importable (a module's function, or `functools.partial` of one). One worker means this process.
    An exception in a worker is raised here, at its item's turn; what was yielded before stays valid.

    Raises:
        WildsegError: a worker was killed, as the system does when memory runs out.
    """
    if workers <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    # Fresh interpreters rather than forks: a fork of a process whose libraries hold threads may deadlock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(items)), mp_context=context) as pool:
        remaining = iter(items)
        waiting: list[Future[Result]] = []
        try:
            waiting += [pool.submit(function, item) for item in islice(remaining, workers * AHEAD)]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(function, item) for item in islice(remaining, 1)]
        except BrokenProcessPool as error:
            raise WildsegError(
                f"one of {workers} worker processes was killed from outside, most likely because memory ran out; "
                "set WILDSEG_WORKERS to fewer, or extract.max_side to smaller frames"
            ) from error
        finally:
            for future in waiting:
                future.cancel()
