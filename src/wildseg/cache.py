"""What was computed for a frame is kept under a key made of everything it depends on, and not computed again.

A stage's outputs are DVC's; this is beside them, in ``.wildseg/cache`` (or where `WILDSEG_CACHE` says; ``off`` keeps
nothing). An output that is restored from here is the very bytes that were written when it was computed. So a run that
was killed goes on where it was, and new frames cost what they cost, while DVC sees the bytes of a clean run.

The key covers the frame's input bytes, the parameters, the model's weights, the source code (`wildseg.source`), and the
versions of the libraries. An entry is one file, written whole or not at all, with a checksum: one that is damaged is
computed again. Nothing in it can run code: bytes of files, and a record as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from wildseg.errors import DataError, SystemFailure
from wildseg.failures import Failures
from wildseg.files import atomic, save_bytes
from wildseg.parallel import Workers
from wildseg.provenance import home

Item = TypeVar("Item")

MAGIC = b"wildseg cache 1\n"
CHECKSUM = 32  # bytes of SHA-256
VARIABLE = "WILDSEG_CACHE"


@dataclass(frozen=True)
class Entry:
    """What is kept of one frame: a record that JSON can hold, and the contents of its output files by role."""

    record: Any
    files: Mapping[str, bytes] = field(default_factory=dict)


class Store:
    """Entries of one stage in a folder; several processes may read and write at the same time."""

    def __init__(self, folder: Path | None) -> None:
        """Remember where; None keeps and finds nothing."""
        self.folder = folder
        self.damaged = 0
        self._complained = False

    @classmethod
    def of(cls, root: Path, stage: str) -> Store:
        """Open the store of a stage of the project folder `root`."""
        folder = location(root)
        return cls(folder / stage if folder else None)

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or None: there is none, or it is damaged, and then it is removed."""
        folder = self.folder  # which another thread may give up at any time
        if folder is None:
            return None
        path = _path(folder, key)
        try:
            entry = _unpack(path.read_bytes())
        except OSError:
            return None
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ):  # also: whole, but not written here
            self.damaged += 1
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):  # a cache that others own may be read
            os.utime(path)  # the last use, by which `prune` decides
        return entry

    def has(self, key: str) -> bool:
        """Say whether there is an entry, whole or damaged."""
        folder = self.folder
        return folder is not None and _path(folder, key).is_file()

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry; a full disk or a folder that cannot be written to is said once, and is no error."""
        folder = self.folder
        if folder is None:
            return
        path = _path(folder, key)
        try:
            with atomic(path) as temporary:
                temporary.write_bytes(_pack(entry))
        except OSError as error:
            if not self._complained:
                reason = error.strerror or error
                print(f"cache: {folder} cannot be written to ({reason}); nothing more is kept", file=sys.stderr)
            self._complained = True
            self.folder = None


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / key[2:]


@dataclass(frozen=True)
class Recipe(Generic[Item]):
    """How the results of a stage are told apart, computed, and where they lie.

    ingredients: what all items depend on, such as parameters and `source.digest`; plain values and dataclasses.
    inputs: the bytes, or plain values, that one item depends on. files: its output files by role. compute: writes
    these files with the tools of a worker and returns a record that JSON can hold. All three must be importable.

    together: how many items `compute_several` takes at a time, where there is such; it returns for each item its record
    or the DataError that it alone met.
    """

    ingredients: Mapping[str, Any]
    inputs: Callable[[Item], Iterable[Any]]
    files: Callable[[Item], Mapping[str, Path]]
    compute: Callable[[Item, Any], Any]
    together: int = 1
    compute_several: Callable[[Sequence[Item], Any], Sequence[Any]] | None = None

    def records(self, items: Sequence[Item], tools: Any) -> Sequence[Any]:  # noqa: ANN401
        """Return the record of each item, or the DataError that it met.

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
        crew: Callable[[int], Workers[Any]],
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
                failures.add(item, str(error))

    def _compute(
        self, missing: Sequence[tuple[Item, str]], workers: Workers[Any], failures: Failures
    ) -> Iterator[tuple[Item, Any]]:
        # Kept by the worker as soon as it is computed: a kill loses what is in flight, not what waits for its turn.
        work = partial(_compute_and_keep, self.recipe, self.store)
        step = self.recipe.together
        parts = [missing[start : start + step] for start in range(0, len(missing), step)]
        for part, records in zip(parts, workers.each(work, parts), strict=True):
            for (item, _), record in zip(part, records, strict=True):
                if isinstance(record, _Failed):
                    failures.add(item, record.reason)
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
        files = self.recipe.files(item)
        if set(files) != set(entry.files):
            return False
        for role, path in files.items():
            save_bytes(path, entry.files[role])
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
) -> list[Any]:
    records = list(recipe.records([item for item, _ in work], tools))
    for number, (item, key) in enumerate(work):
        files = recipe.files(item)
        if isinstance(records[number], DataError):
            for path in files.values():
                path.unlink(missing_ok=True)
            records[number] = _Failed(str(records[number]))
        else:
            store.put(key, Entry(records[number], {role: path.read_bytes() for role, path in files.items()}))
    return records


def note(store: Store, stage: str, hits: int, misses: int) -> None:
    """Leave for `wildseg cache` how many items of a run were kept, and how many were computed."""
    if store.folder is not None:
        with suppress(OSError), atomic(store.folder.parent / f"{stage}.json") as temporary:
            temporary.write_text(json.dumps({"hits": hits, "misses": misses}))


def location(root: Path) -> Path | None:
    """Return the folder of the cache for the project folder `root`, or None if `WILDSEG_CACHE` is ``off``.

    A copy in which DVC runs an experiment shares the cache of the folder that stays.
    """
    wish = os.environ.get(VARIABLE, "")
    if wish.lower() == "off":
        return None
    return Path(wish).expanduser() if wish else home(root) / ".wildseg" / "cache"


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed versions of libraries, for a recipe's ingredients; empty for one that is not installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a fork may go by another name
            found[name] = ""
    return found


# Bytes -----------------------------------------------------------------------------------------------------------


def _pack(entry: Entry) -> bytes:
    header = {"record": entry.record, "files": {role: len(content) for role, content in entry.files.items()}}
    text = json.dumps(header, allow_nan=False).encode()
    body = len(text).to_bytes(8, "little") + text + b"".join(entry.files.values())
    return MAGIC + hashlib.sha256(body).digest() + body


def _unpack(content: bytes) -> Entry:
    start = len(MAGIC) + CHECKSUM
    body = memoryview(content)[start:]
    if content[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != content[len(MAGIC) : start]:
        raise ValueError("not an entry, or a damaged one")
    length = int.from_bytes(body[:8], "little")
    header = json.loads(bytes(body[8 : 8 + length]))
    files, position = {}, 8 + length
    for role, size in header["files"].items():
        files[role] = bytes(body[position : position + size])
        position += size
    return Entry(header["record"], files)


def key_of(parts: Sequence[Any]) -> str:
    """Return the SHA-256 of plain values, dataclasses, paths' names and bytes, each told apart from its neighbours."""
    whole = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else json.dumps(_plain(part), sort_keys=True).encode()
        whole.update(f"{type(part) is bytes} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def _plain(value: Any) -> Any:  # noqa: ANN401
    if is_dataclass(value) and not isinstance(value, type):
        return {"": type(value).__name__, **{name: _plain(part) for name, part in asdict(value).items()}}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value
