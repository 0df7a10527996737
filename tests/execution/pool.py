"""A worker pool without tools, for tests of what workers do with any function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from wildseg.execution.engines.local import LocalPool
from wildseg.execution.worker_pool import no_setup

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for each of `items`, in their order, by at most `workers` processes."""
    with LocalPool(min(workers, len(items)), no_setup) as pool:
        yield from pool.each(_Plain(function), items)


class _Plain(Generic[Item, Result]):
    def __init__(self, function: Callable[[Item], Result]) -> None:
        self.function = function

    def __call__(self, item: Item, _: object) -> Result:
        return self.function(item)
