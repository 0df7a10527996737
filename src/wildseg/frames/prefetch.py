"""Prefetching of items in a background thread: decoders and encoders release Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
END: Any = object()


def prefetch(items: Generator[Item, None, None], count: int) -> Generator[Item, None, None]:
    """Yield `items` in their order, up to `count` of them prefetched.

    What `items` raises is raised at its turn, after all that came before. It is closed when this ends, however it ends.
    """
    waiting: deque[Future[Item]] = deque()
    with ThreadPoolExecutor(1) as thread:
        try:
            waiting += [thread.submit(next, items, END) for _ in range(count)]
            while (item := waiting.popleft().result()) is not END:
                waiting.append(thread.submit(next, items, END))
                yield item
        finally:
            for future in waiting:
                future.cancel()
            thread.submit(items.close).result()
