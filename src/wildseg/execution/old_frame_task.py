"""What was computed for a frame is not computed again.

A stage's outputs are DVC's; `wildseg.execution.result_store` is beside them. An output that is restored from there is
the very bytes that were written when it was computed. So a run that was killed goes on where it was, and new frames
cost what they cost, while DVC sees the bytes of a clean run.

The key covers the frame's input bytes, the parameters, the model's weights, the source code
(`wildseg.execution.fingerprint`), and the versions of the libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from wildseg.core.errors import DataError, SystemFailure
from wildseg.core.files import save_bytes
from wildseg.execution.failures import Failures
from wildseg.execution.result_store import Entry, Store, key_of, note
from wildseg.execution.worker_pool import WorkerPool

Item = TypeVar("Item")


@dataclass(frozen=True)
class Recipe(Generic[Item]):
    """How the results of a stage are told apart, computed, and where they lie.

    ingredients: what all items depend on, such as parameters and `source.digest`; plain values and dataclasses.
    inputs: the bytes, or plain values, that one item depends on. files: where its output files lie, by role. compute:
    returns their contents and a record that JSON can hold, made with the tools of a worker; it writes nothing, so that
    what is kept is what was computed, whoever else writes there. All three must be importable.

    What compute reads again must be what inputs gave: stages hold the lock of the project
    (`wildseg.execution.project_lock`), so that no other stage writes it meanwhile.

    together: how many items `compute_several` takes at a time, where there is such; it returns for each item its entry
    or the DataError that it alone met.
    """

    ingredients: Mapping[str, Any]
    inputs: Callable[[Item], Iterable[Any]]
    files: Callable[[Item], Mapping[str, Path]]
    compute: Callable[[Item, Any], Entry]
    together: int = 1
    compute_several: Callable[[Sequence[Item], Any], Sequence[Entry | DataError]] | None = None

    def entries(self, items: Sequence[Item], tools: Any) -> Sequence[Entry | DataError]:  # noqa: ANN401
        """Return what was computed of each item, or the DataError that it met.

        Raises:
            SystemFailure: another run may find nothing wrong.
        """
        if self.compute_several is not None and len(items) > 1:
            return self.compute_several(items, tools)
        return [met(self.compute, item, tools) for item in items]


def met(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    """Return what a function returns, or the DataError that it raises.

    Raises:
        SystemFailure: another run may find nothing wrong.
    """
    try:
        return function(*arguments)
    except SystemFailure:
        raise
    except DataError as error:
        return error


class Cache(Generic[Item]):
    """Serves the items of one stage: those that are kept from the store, the others by computing them."""

    def __init__(self, root: Path, stage: str, recipe: Recipe[Item]) -> None:
        """Open the store of a stage in the project folder `root`."""
        self.store = Store.of(root, stage)
        self.stage = stage
        self.recipe = recipe
        self.hits = 0
        self.misses = 0
        self._base = key_of([stage, recipe.ingredients])

    def key(self, item: Item) -> str:
        """Return the key of an item, hex."""
        return key_of([self._base, *self.recipe.inputs(item)])

    def serve(
        self,
        items: Sequence[Item],
        crew: Callable[[int], WorkerPool[Any]],
        begin: Callable[[], object] = lambda: None,
        failures: Failures | None = None,
    ) -> Iterator[tuple[Item, Any]]:
        """Yield (item, record) for all of `items`: first those that are kept, then the others in order.

        Args:
            items: to be served; the files of one are in place when it is yielded.
            crew: gives the workers for a number of items; not called if all are kept.
            begin: called once, when workers are ready and before the first file is written.
            failures: notes items of which `recipe` raises a DataError, and says when there are too many; such an item
                is not yielded, and what it left is removed. None raises the first.

        Raises:
            Exception: what `crew`, `recipe.compute` and `failures` raise.
        """
        failures = failures or Failures(self.stage, 0.0, len(items))
        keyed = list(self._keyed(items, failures))
        absent = sum(not self.store.has(key) for _, key in keyed)
        with crew(absent) if absent else nullcontext() as workers:
            begin()
            missing = []
            for item, key in keyed:
                entry = self.store.get(key)
                if entry is None or not self._restore(item, entry):
                    missing.append((item, key))
                    continue
                self.hits += 1
                yield item, entry.record
            if workers is not None:
                yield from self._compute(missing, workers, failures)
        if missing and workers is None:  # all were there, and some of them damaged
            with crew(len(missing)) as late:
                yield from self._compute(missing, late, failures)
        note(self.store, self.stage, self.hits, self.misses)

    def _keyed(self, items: Sequence[Item], failures: Failures) -> Iterator[tuple[Item, str]]:
        for item in items:
            try:
                yield item, self.key(item)
            except SystemFailure:
                raise  # another run may find nothing wrong with it, and DVC would keep the frame away from that run
            except DataError as error:
                failures.add(str(item), str(error))

    def _compute(
        self, missing: Sequence[tuple[Item, str]], workers: WorkerPool[Any], failures: Failures
    ) -> Iterator[tuple[Item, Any]]:
        # Kept by the worker as soon as it is computed: a kill loses what is in flight, not what waits for its turn.
        work = partial(_compute_and_keep, self.recipe, self.store)
        step = self.recipe.together
        parts = [missing[start : start + step] for start in range(0, len(missing), step)]
        for part, (records, problem) in zip(parts, workers.each(work, parts), strict=True):
            self.store.give_up(problem)
            for (item, _), record in zip(part, records, strict=True):
                if isinstance(record, _Failed):
                    failures.add(str(item), record.reason)
                    continue
                self.misses += 1
                yield item, record

    def __str__(self) -> str:
        """Say how many were served, in a few words for the line that a stage prints; empty if nothing is kept."""
        if not self.hits:
            return ""
        damaged = f" ({self.store.damaged} damaged ones computed anew)" if self.store.damaged else ""
        return f", {self.hits} from the cache{damaged}"

    def _restore(self, item: Item, entry: Entry) -> bool:
        if set(self.recipe.files(item)) != set(entry.files):
            return False
        _write(self.recipe, item, entry)
        return True


@dataclass(frozen=True)
class _Failed:
    """In place of a record: why an item could not be computed."""

    reason: str


def _compute_and_keep(
    recipe: Recipe[Item],
    store: Store,
    work: Sequence[tuple[Item, str]],
    tools: Any,  # noqa: ANN401
) -> tuple[list[Any], str | None]:
    """Return the record of each item, or why there is none, and why nothing can be kept, if that is so."""
    records: list[Any] = []
    computed = recipe.entries([item for item, _ in work], tools)
    for (item, key), entry in zip(work, computed, strict=True):
        if isinstance(entry, DataError):
            for path in recipe.files(item).values():
                path.unlink(missing_ok=True)
            records.append(_Failed(str(entry)))
        else:
            _write(recipe, item, entry)
            store.put(key, entry)
            records.append(entry.record)
    return records, store.problem


def _write(recipe: Recipe[Item], item: Item, entry: Entry) -> None:
    for role, path in recipe.files(item).items():
        save_bytes(path, entry.files[role])
