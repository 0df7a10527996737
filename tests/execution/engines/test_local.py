"""One function over many items on this machine: in order, the same for any number of workers, honest about failures."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.execution.pool import each
from wildseg.core.errors import DataError, WildsegError
from wildseg.execution.engines.local import AHEAD, LocalPool


def square(number: int) -> int:
    return number * number


def slow_first(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0)
    return number


def fail_at(number: int, *, bad: int, kind: type[Exception]) -> int:
    if number == bad:
        raise kind(f"item {number}")
    return number


def die_at(number: int, *, bad: int) -> int:
    if number == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def where(_: int) -> int:
    return os.getpid()


def fill_the_disk(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))  # of this worker; stands for a disk without room
    path.write_bytes(bytes(1000))


class Counted(Sequence[int]):
    """Numbers that count how many of them were taken."""

    def __init__(self, length: int) -> None:
        self.length, self.taken = length, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:  # type: ignore[override]
        return range(self.length)[index]

    def __iter__(self) -> Iterator[int]:
        for number in range(self.length):
            self.taken += 1
            yield number


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items_whatever_the_number_of_workers(workers: int) -> None:
    assert list(each(square, range(20), workers)) == [number * number for number in range(20)]


def test_an_item_that_takes_long_holds_back_those_after_it() -> None:
    assert list(each(slow_first, range(8), 2)) == list(range(8))


@pytest.mark.parametrize("workers", [1, 4])
def test_no_items_give_no_results(workers: int) -> None:
    assert list(each(square, [], workers)) == []


@pytest.mark.parametrize(("workers", "items"), [(1, range(5)), (8, [3])])
def test_one_worker_or_one_item_stays_in_this_process(workers: int, items: Sequence[int]) -> None:
    assert set(each(where, items, workers)) == {os.getpid()}


def test_more_workers_work_in_processes_of_their_own() -> None:
    assert os.getpid() not in set(each(where, range(8), 2))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [DataError, ValueError])
def test_an_exception_is_raised_at_the_turn_of_its_item(workers: int, kind: type[Exception]) -> None:
    results = each(partial(fail_at, bad=5, kind=kind), range(12), workers)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(kind, match="item 5"):
        next(results)


def test_a_full_disk_in_a_worker_is_the_same_error_here(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as caught:
        list(each(fill_the_disk, [tmp_path / "a", tmp_path / "b"], 2))
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize("bad", [0, 9])
def test_a_worker_that_is_killed_is_one_clear_error(bad: int) -> None:
    with pytest.raises(WildsegError, match="worker processes was killed.*memory.*set WILDSEG_WORKERS to fewer"):
        list(each(partial(die_at, bad=bad), range(10), 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_only_a_few_items_are_in_flight(workers: int) -> None:
    items = Counted(1000)
    results = each(square, items, workers)
    for _ in range(10):
        next(results)
    assert items.taken <= 10 + workers * AHEAD
    results.close()


def test_a_consumer_that_stops_early_leaves_no_process_behind() -> None:
    results = each(where, range(100), 2)
    process = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def take_rank(rank: int) -> int:
    return rank


def refuse(rank: int) -> int:
    raise DataError(f"no model for worker {rank}")


def with_tools(number: int, rank: int) -> tuple[int, int, int]:
    time.sleep(0.05)  # so that no worker can take all
    return number, rank, os.getpid()


def test_each_worker_prepares_its_own_tools_once() -> None:
    with LocalPool(3, take_rank) as workers:
        results = list(workers.each(with_tools, range(30)))
    assert [number for number, _, _ in results] == list(range(30))
    processes = {rank: {pid for _, other, pid in results if other == rank} for _, rank, _ in results}
    assert set(processes) == {0, 1, 2}
    assert all(len(pids) == 1 and os.getpid() not in pids for pids in processes.values())


def test_one_worker_prepares_its_tools_here() -> None:
    with LocalPool(1, take_rank) as workers:
        assert list(workers.each(with_tools, [7])) == [(7, 0, os.getpid())]


@pytest.mark.parametrize("number", [1, 2])
def test_tools_that_cannot_be_prepared_are_told_before_any_item_is_taken(number: int) -> None:
    with pytest.raises(DataError, match="no model for worker"), LocalPool(number, refuse):
        pytest.fail("the body ran")


@pytest.mark.parametrize("number", [1, 2])
def test_the_same_workers_serve_again(number: int) -> None:
    with LocalPool(number, take_rank) as workers:
        for _ in range(2):
            assert [result[0] for result in workers.each(with_tools, range(4))] == [0, 1, 2, 3]
