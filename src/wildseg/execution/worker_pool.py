"""One function over many frames, by workers that each hold their tools, results in order.

Who they are is the engine's matter: processes on this machine, or on those of a cluster (`WILDSEG_ENGINE`). Results are
the same for any engine and number of workers: each item is computed by itself, by one worker, on one core or GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

from wildseg.core import lookup
from wildseg.execution.runtime import ENGINE, ENGINES, Runtime

Item = TypeVar("Item")
Result = TypeVar("Result")
Tools = TypeVar("Tools")
Tools_co = TypeVar("Tools_co", covariant=True)


class WorkerPool(Protocol[Tools_co]):
    """Processes that each prepare their tools once, such as a model, and then work on one item after the other.

    What is handed to workers must be importable (a module's function, or `functools.partial` of one); what comes back
    must be small, since it is copied between processes, and between machines.
    """

    def __enter__(self) -> WorkerPool[Tools_co]:
        """Start, and return as soon as one worker is ready.

        Raises:
            Exception: whatever `prepare` raised.
            WildsegError: workers cannot be had, or one was killed.
        """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop all workers; what they have not begun is dropped."""

    def each(self, function: Callable[[Item, Tools_co], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield ``function(item, tools)`` for each of `items`, in their order.

        An exception in a worker is raised here, at its item's turn; what was yielded before stays valid.

        Raises:
            WildsegError: workers were lost, as the system does it when memory runs out.
        """


def worker_pool(runtime: Runtime, items: int, prepare: Callable[[int], Tools], *, model: bool) -> WorkerPool[Tools]:
    """Return the workers of the engine that `runtime` names; nothing is started yet.

    Args:
        runtime: how many at most, and on which device.
        items: how many there will be to work on; more workers than that are not started.
        prepare: called in each worker with a number from 0 that differs between those that see the same GPUs; what it
            returns is handed to every call.
        model: whether the tools are a model, which wants a GPU to itself where there is one.
    """
    return _engine(runtime).worker_pool(runtime, items, prepare, model=model)


def gpus(runtime: Runtime) -> list[str]:
    """Return the names of the GPUs that the workers of a `worker_pool` with a model compute on; none for the CPU."""
    return _engine(runtime).gpus(runtime)


def no_setup(_: int) -> None:
    """Prepare nothing: for functions that need no tools."""


def _engine(runtime: Runtime) -> Any:  # noqa: ANN401
    # By a name that `wildseg.execution.fingerprint` does not follow: which engine computes a result is no part of what
    # it depends on.
    return lookup.load(ENGINES, runtime.engine, ENGINE)
