"""The results of a frame task for many frames: restored from the result store, or computed by workers.

A stage's outputs are DVC's; `wildseg.execution.result_store` is beside them. An output that is restored from there is
the very bytes that were written when it was computed. So a run that was killed goes on where it was, and new frames
cost what they cost, while DVC sees the bytes of a clean run.

The key of a result covers the bytes a frame's result is made of, the parameters, the model's weights, the source code
(`wildseg.execution.fingerprint`), the versions of the libraries and the kind of GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from wildseg.core.errors import DataError, SystemFailure
from wildseg.core.progress import note, track
from wildseg.execution import result_store
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import FrameTask, catch_data_error, write_outputs
from wildseg.execution.result_store import ResultStore, key_of
from wildseg.execution.runtime import Runtime, worker_device
from wildseg.execution.worker_pool import WorkerPool, gpus, worker_pool

Item = TypeVar("Item")


class Collect(Protocol):
    """Takes the record of an item as soon as its files are in place."""

    def __call__(self, item: Any, record: Any, /) -> object:  # noqa: ANN401, D102
        ...


@dataclass
class Results:
    """What came of a run.

    frames: the names of those that have a result, in their order. records: by the name of the frame, unless they were
    collected. cached, computed: how many results were restored, and how many were not. damaged: how many entries of the
    result store were not whole, and computed again. restored: the names of those that workers restored.
    """

    frames: list[str] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)
    cached: int = 0
    computed: int = 0
    damaged: int = 0
    restored: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say how many were restored, in a few words for the line that a stage prints; empty if none was."""
        if not self.cached:
            return ""
        damaged = f" ({self.damaged} damaged ones computed anew)" if self.damaged else ""
        return f", {self.cached} from the cache{damaged}"


def run_frames(
    task: FrameTask[Item],
    items: Sequence[Item],
    runtime: Runtime,
    failures: Failures | None = None,
    *,
    packed: bool = False,
    progress: str | None = None,
    collect: Collect | None = None,
) -> Results:
    """Restore the results of the items that are stored, then compute the others, in order.

    A worker writes and stores a result as soon as it is computed, so that a kill loses what is in flight alone.

    Args:
        task: what to compute.
        items: to be computed, one a frame.
        runtime: how many workers, of which engine, on which device.
        failures: the budget of items that may raise a DataError; they are quarantined, and what they left is removed.
            None raises the first.
        packed: whether output files are to be put into shards.
        progress: the title of the progress bar; the name of the stage by default, none if it is empty.
        collect: called with each item and its record, those that are stored first; by default records are returned.

    Raises:
        DataError: more items fail than `failures` allows.
        Exception: what the task and the worker pool raise.
    """
    failures = failures or Failures(task.stage, 0.0, len(items))
    run = _Run(task, runtime, failures)
    records: dict[str, Any] = {}
    take = collect or (lambda item, record: records.update({task.name(item): record}))
    title = task.stage if progress is None else progress
    done = run.each(items)
    for item, record in track(done, len(items), title) if items and title else done:
        take(item, record)
    frames = failures.without([task.name(item) for item in items])
    if packed:
        task.pack(frames)
    result_store.note(run.store, run.store_name, run.cached, run.computed)
    return Results(frames, records, run.cached, run.computed, run.store.damaged, run.restored)


class _Run(Generic[Item]):
    """One run of a task: what is stored, and what is computed."""

    def __init__(self, task: FrameTask[Item], runtime: Runtime, failures: Failures) -> None:
        self.store_name = task.store or task.stage
        self.store = ResultStore.of(task.root, self.store_name)
        self.cached = 0
        self.computed = 0
        self.restored: list[str] = []
        self._task = task
        self._runtime = runtime
        self._failures = failures
        devices = gpus(runtime)[:1] if task.uses_model else []
        self._batch_size = task.batch_size if devices else 1
        versions = result_store.versions(*task.libraries)
        self._base = key_of([self.store_name, task.depends_on(), task.code(), versions, devices])

    def each(self, items: Sequence[Item]) -> Iterator[tuple[Item, Any]]:
        """Yield each item and its record, the stored ones first."""
        if self._task.keyed_by_workers:
            yield from self._each_in_workers(items)
            return
        keyed = list(self._keyed(items))
        absent = sum(not self.store.has(key) for _, key in keyed)
        with self._pool(absent) if absent else nullcontext() as pool:
            self._task.empty_outputs()
            missing = []
            for item, key in keyed:
                entry = self.store.get(key)
                if entry is None or not self._task.restore(item, entry):
                    missing.append((item, key))
                    continue
                self.cached += 1
                yield item, entry.record
            if pool is not None:
                yield from self._compute(missing, pool)
        if missing and pool is None:  # all were there, and some of them damaged
            with self._pool(len(missing)) as late:
                yield from self._compute(missing, late)

    def _each_in_workers(self, items: Sequence[Item]) -> Iterator[tuple[Item, Any]]:
        with self._pool(len(items)) as pool:
            self._task.empty_outputs()
            answers = pool.each(partial(_restore_or_compute, self.store, self._base), items)
            for item, (record, cached, problem) in zip(items, answers, strict=True):
                self.store.disable(problem)
                if isinstance(record, _Failed):
                    self._failures.add(self._task.name(item), record.reason)
                    continue
                self.cached += cached
                self.computed += not cached
                if cached:
                    self.restored.append(self._task.name(item))
                yield item, record

    def _keyed(self, items: Sequence[Item]) -> Iterator[tuple[Item, str]]:
        for item in items:
            try:
                yield item, key_of([self._base, *self._task.inputs(item)])
            except SystemFailure:
                raise  # another run may find nothing wrong with it, and DVC would keep the frame away from that run
            except DataError as error:
                self._failures.add(self._task.name(item), str(error))

    def _pool(self, items: int) -> WorkerPool[FrameTask[Item]]:
        ready = partial(_set_up, self._task, self._runtime.device)
        return worker_pool(self._runtime, items, ready, model=self._task.uses_model)

    def _compute(
        self, missing: Sequence[tuple[Item, str]], pool: WorkerPool[FrameTask[Item]]
    ) -> Iterator[tuple[Item, Any]]:
        size = self._batch_size
        batches = [missing[start : start + size] for start in range(0, len(missing), size)]
        answers = pool.each(partial(_compute_and_store, self.store), batches)
        for batch, (records, problem) in zip(batches, answers, strict=True):
            self.store.disable(problem)
            for (item, _), record in zip(batch, records, strict=True):
                if isinstance(record, _Failed):
                    self._failures.add(self._task.name(item), record.reason)
                    continue
                self.computed += 1
                yield item, record


# In a worker -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Failed:
    """In place of a record: why an item could not be computed."""

    reason: str


def _set_up(task: FrameTask[Item], device: str, rank: int) -> FrameTask[Item]:
    # A copy: where this process is the only worker, models go with the pool, and not with the caller's task.
    own = copy(task)
    remarks = own.setup(worker_device(device, rank) if task.uses_model else "cpu")
    note(task.stage, remarks if rank == 0 else ())
    return own


def _compute_and_store(
    store: ResultStore, batch: Sequence[tuple[Item, str]], task: FrameTask[Item]
) -> tuple[list[Any], str | None]:
    """Return the record of each item, or why there is none, and why nothing can be stored, if that is so."""
    items = [item for item, _ in batch]
    entries = task.compute_batch(items) if len(items) > 1 else [catch_data_error(task.compute, *items)]
    records: list[Any] = []
    for (item, key), entry in zip(batch, entries, strict=True):
        if isinstance(entry, DataError):
            for path in task.outputs(item).values():
                path.unlink(missing_ok=True)
            records.append(_Failed(str(entry)))
        else:
            write_outputs(task, item, entry)
            if not entry.transient:
                store.put(key, entry)
            records.append(entry.record)
    return records, store.problem


def _restore_or_compute(
    store: ResultStore, base: str, item: Item, task: FrameTask[Item]
) -> tuple[Any, bool, str | None]:
    """Return the record of an item, or why there is none, whether it was stored, and why nothing can be stored."""
    try:
        key = key_of([base, *task.inputs(item)])
    except SystemFailure:
        raise
    except DataError as error:
        return _Failed(str(error)), False, store.problem
    entry = store.get(key)
    if entry is not None and task.restore(item, entry):
        return entry.record, True, store.problem
    (record,), problem = _compute_and_store(store, [(item, key)], task)
    return record, False, problem
