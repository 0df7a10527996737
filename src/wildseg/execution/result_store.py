"""What is kept beside a stage's outputs: entries under a key that says everything they depend on.

One file an entry, written whole or not at all, with a checksum: one that is damaged is computed again. Nothing in it
can run code: bytes of files, and a record as JSON. Entries lie in ``.wildseg/cache``, or where `WILDSEG_CACHE` says;
``off`` keeps nothing.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from wildseg.core.errors import WildsegError, check_regular
from wildseg.core.files import atomic
from wildseg.core.project_root import project_root

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

    @classmethod
    def of(cls, root: Path, stage: str) -> Store:
        """Open the store of a stage of the project folder `root`."""
        folder = location(root)
        return cls(folder / stage if folder else None)

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or None: there is none, or it is damaged, and then it is removed."""
        if self.folder is None:
            return None
        path = path_of(self.folder, key)
        try:
            check_regular(path)
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
        return self.folder is not None and path_of(self.folder, key).is_file()

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry; a full disk or a folder that cannot be written to is said once a run, and is no error."""
        folder = self.folder
        if folder is None or folder.parent in _problems:
            return
        path = path_of(folder, key)
        try:
            with atomic(path) as temporary:
                temporary.write_bytes(_pack(entry))
        except OSError as error:
            reason = error.strerror or error
            self.give_up(f"cache: {folder.parent} cannot be written to ({reason}); nothing more is kept")

    @property
    def problem(self) -> str | None:
        """What keeps this process from keeping anything more; a worker hands it on to the process that tells it."""
        return _problems.get(self.folder.parent) if self.folder else None

    def give_up(self, problem: str | None) -> None:
        """Keep nothing more in this process, in no store of this cache; say why, unless it was said. None: go on."""
        if problem is None or self.folder is None:
            return
        with _telling:  # threads that ask a language server keep its answers
            known = self.folder.parent in _problems
            _problems[self.folder.parent] = problem
        if not known and multiprocessing.parent_process() is None:
            print(problem, file=sys.stderr, flush=True)


_problems: dict[Path, str] = {}  # of this process, by the folder of a cache
_telling = threading.Lock()


def path_of(folder: Path, key: str) -> Path:
    """Return where the entry of a key lies in the folder of a stage's entries."""
    return folder / key[:2] / key[2:]


def note(store: Store, stage: str, hits: int, misses: int) -> None:
    """Leave for `wildseg cache` how many items of a run were kept, and how many were computed."""
    if store.folder is not None:
        with suppress(OSError), atomic(store.folder.parent / f"{stage}.json") as temporary:
            temporary.write_text(json.dumps({"hits": hits, "misses": misses}))


def location(root: Path) -> Path | None:
    """Return the folder of the cache for the project folder `root`, or None if `WILDSEG_CACHE` is ``off``.

    A copy in which DVC runs an experiment shares the cache of the folder that stays.

    Raises:
        WildsegError: it names the home of a user that there is none of.
    """
    wish = os.environ.get(VARIABLE, "")
    if wish.lower() == "off":
        return None
    try:
        return Path(wish).expanduser() if wish else project_root(root) / ".wildseg" / "cache"
    except RuntimeError as error:
        raise WildsegError(f"{VARIABLE}: expected a folder or off, found {wish!r}: there is no such user") from error


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
