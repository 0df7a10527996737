"""The default engine: processes on this machine, one per core, or one per GPU where they hold a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from wildseg.core.errors import WildsegError
from wildseg.execution import children
from wildseg.execution.runtime import Runtime, gpus

Item = TypeVar("Item")
Result = TypeVar("Result")
Tools = TypeVar("Tools")

MOMENT = 0.2  # seconds: a signal to all processes of a run may reach a worker first, and this one may end by it
AHEAD = 4  # items in flight per worker: enough to keep all busy, few enough to keep memory flat


def worker_pool(runtime: Runtime, items: int, prepare: Callable[[int], Tools], *, model: bool) -> LocalPool[Tools]:
    """Return as many processes as there are cores, or GPUs for a model, and no more than items."""
    number = (len(gpus(runtime)) if model else 0) or runtime.workers
    return LocalPool(max(1, min(number, items)), prepare)


class LocalPool(Generic[Tools]):
    """`wildseg.execution.worker_pool.WorkerPool` as spawned processes; one worker means this process."""

    def __init__(self, number: int, prepare: Callable[[int], Tools]) -> None:
        """Remember how many; nothing is started yet.

        Args:
            number: of processes, at least 1.
            prepare: called once in each worker with its rank, from 0; what it returns is handed to every call.
        """
        self._number = number
        self._prepare = prepare
        self._pool: ProcessPoolExecutor | None = None
        self._tools: Tools

    def __enter__(self) -> LocalPool[Tools]:
        """Start, and return as soon as one worker is ready.

        Raises:
            Exception: whatever `prepare` raised.
            WildsegError: a worker was killed.
        """
        if self._number <= 1:
            self._tools = self._prepare(0)
            return self
        context = children.context()
        ranks = context.SimpleQueue()
        for rank in range(self._number):
            ranks.put(rank)
        self._pool = ProcessPoolExecutor(
            self._number, mp_context=context, initializer=_arm, initargs=(self._prepare, ranks)
        )
        try:
            with _told(self._number):
                with children.without_interrupts():  # the pool would be left half-started
                    ready = [self._pool.submit(_tools_ready) for _ in range(self._number)]
                ready[0].result()
        except BaseException as error:
            self._stop(type(error))
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop all workers; what they have not begun is dropped."""
        self._stop(kind)

    def _stop(self, kind: type[BaseException] | None) -> None:
        if self._pool is None:
            return
        if kind is not None and not issubclass(kind, Exception):
            children.kill_all()  # Ctrl-C: what is in flight is not waited for
        self._pool.shutdown(cancel_futures=True)

    def each(self, function: Callable[[Item, Tools], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``function(item, tools)`` for each of `items`, in their order; they are read a few ahead.

        An exception in a worker is raised here, at its item's turn; what was yielded before stays valid.

        Raises:
            WildsegError: a worker was killed, as the system does when memory runs out.
        """
        if self._pool is None:
            yield from (function(item, self._tools) for item in items)
            return
        remaining = iter(items)
        waiting: list[Future[Result]] = []
        try:
            with _told(self._number):
                waiting += self._submit(function, islice(remaining, self._number * AHEAD))
                while waiting:
                    yield waiting.pop(0).result()
                    waiting += self._submit(function, islice(remaining, 1))
        finally:
            for future in waiting:
                future.cancel()

    def _submit(self, function: Callable[[Item, Tools], Result], items: Iterable[Item]) -> list[Future[Result]]:
        if self._pool is None:
            return []
        with children.without_interrupts():
            return [self._pool.submit(_work, function, item) for item in items]


@contextmanager
def _told(workers: int) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        time.sleep(MOMENT)
        raise WildsegError(
            f"one of {workers} worker processes was killed from outside, most likely because memory ran out; "
            "set WILDSEG_WORKERS to fewer, or extract.max_side to smaller frames"
        ) from error


# In a worker -----------------------------------------------------------------------------------------------------

_armed: dict[str, Any] = {}


def _arm(prepare: Callable[[int], Any], ranks: SimpleQueue[int]) -> None:
    # Only remembers: an exception here would break the pool, and its message would be lost.
    _armed.update(prepare=prepare, rank=ranks.get())


def _tools_ready() -> None:
    if "tools" not in _armed:
        _armed["tools"] = _armed["prepare"](_armed["rank"])


def _work(function: Callable[[Item, Any], Result], item: Item) -> Result:
    _tools_ready()
    return function(item, _armed["tools"])
