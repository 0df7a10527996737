"""What a thread prepares ahead comes in order, and nothing is left open."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

import pytest

from wildseg.frames.prefetch import prefetch


class Made:
    """Counts what was made of the numbers from 0, and whether their generator was closed."""

    def __init__(self, count: int, broken: int | None = None) -> None:
        self.count, self.broken = count, broken
        self.made = 0
        self.closed = False
        self.enough = threading.Semaphore(0)

    def numbers(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                if number == self.broken:
                    raise ValueError("broken")
                self.made += 1
                self.enough.release()
                yield number
        finally:
            self.closed = True


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_everything_comes_once_and_in_order(count: int) -> None:
    source = Made(count)
    assert list(prefetch(source.numbers(), 3)) == list(range(count))
    assert source.closed


def test_what_is_raised_comes_after_all_that_came_before_it() -> None:
    source = Made(5, broken=2)
    came = []

    def take(items: Iterator[int]) -> None:
        came.extend(iter(lambda: next(items), None))

    with pytest.raises(ValueError, match="broken"):
        take(prefetch(source.numbers(), 3))
    assert came == [0, 1]
    assert source.closed


def test_so_many_are_prepared_before_they_are_asked_for_and_no_more() -> None:
    source = Made(20)
    items = prefetch(source.numbers(), 3)
    assert next(items) == 0
    for _ in range(4):  # the one that came, and three that wait; a thread that made fewer would never get here
        assert source.enough.acquire(timeout=30)
    assert not source.enough.acquire(timeout=0.05)
    assert source.made == 4


def test_whoever_stops_early_leaves_nothing_open() -> None:
    source = Made(20)
    items = prefetch(source.numbers(), 3)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert source.closed
    assert source.made <= 4
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]
