"""The result store: results of frames and trainings under a key of everything that they depend on.

One file per entry, written completely or not at all, with a checksum: a damaged one is computed again. Nothing in it
can run code: bytes of files, and a record as JSON. Entries lie in ``.wildseg/cache``, or in the folder `WILDSEG_CACHE`;
with ``off`` nothing is stored.
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
from dataclasses import asdict, dataclass, field, fields, is_dataclass
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
    """The result of one frame: a record that JSON can hold, and the contents of its output files by role.

    transient: another run may come to another result, so this one is not stored.
    """

    record: Any
    files: Mapping[str, bytes] = field(default_factory=dict)
    transient: bool = False


class ResultStore:
    """Entries of one stage in a folder; several processes may read and write at the same time."""

    def __init__(self, folder: Path | None) -> None:
        """Take the folder; with None nothing is stored or found."""
        self.folder = folder
        self.damaged = 0

    @classmethod
    def of(cls, root: Path, stage: str) -> ResultStore:
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
        with suppress(OSError):  # a cache of another user may be read-only
            os.utime(path)  # the last use, by which `prune` decides
        return entry

    def has(self, key: str) -> bool:
        """Return whether there is an entry, complete or damaged."""
        return self.folder is not None and path_of(self.folder, key).is_file()

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry; a full disk or a folder that cannot be written to is reported once a run, and is no error."""
        folder = self.folder
        if folder is None or folder.parent in _problems:
            return
        path = path_of(folder, key)
        try:
            with atomic(path) as temporary:
                temporary.write_bytes(_pack(entry))
        except OSError as error:
            reason = error.strerror or error
            self.disable(f"cache: {folder.parent} cannot be written to ({reason}); nothing more is stored")

    @property
    def problem(self) -> str | None:
        """The reason why this process stores nothing more; a worker passes it to the process that reports it."""
        return _problems.get(self.folder.parent) if self.folder else None

    def disable(self, problem: str | None) -> None:
        """Store nothing more in this process, in any store of this cache; report `problem` once. None: no change."""
        if problem is None or self.folder is None:
            return
        with _reporting:  # threads that query a language server store its replies
            known = self.folder.parent in _problems
            _problems[self.folder.parent] = problem
        if not known and multiprocessing.parent_process() is None:
            print(problem, file=sys.stderr, flush=True)


_problems: dict[Path, str] = {}  # of this process, by the folder of a cache
_reporting = threading.Lock()


def path_of(folder: Path, key: str) -> Path:
    """Return where the entry of a key lies in the folder of a stage's entries."""
    return folder / key[:2] / key[2:]


def note(store: ResultStore, stage: str, hits: int, misses: int) -> None:
    """Record for `wildseg cache` how many items of a run were cached, and how many were computed."""
    if store.folder is not None:
        with suppress(OSError), atomic(store.folder.parent / f"{stage}.json") as temporary:
            temporary.write_text(json.dumps({"hits": hits, "misses": misses}))


def location(root: Path) -> Path | None:
    """Return the folder of the cache for the project folder `root`, or None if `WILDSEG_CACHE` is ``off``.

    A copy in which DVC runs an experiment shares the cache of the project.

    Raises:
        WildsegError: it names the home folder of an unknown user.
    """
    folder = os.environ.get(VARIABLE, "")
    if folder.lower() == "off":
        return None
    try:
        return Path(folder).expanduser() if folder else project_root(root) / ".wildseg" / "cache"
    except RuntimeError as error:
        raise WildsegError(f"{VARIABLE}: expected a folder or off, found {folder!r}: there is no such user") from error


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed versions of libraries, for a key; empty for one that is not installed."""
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


def fields_but(section: Any, *left_out: str) -> dict[str, Any]:  # noqa: ANN401
    """Return the fields of a section of params.yaml by name, without some, as a part of a key.

    A result depends on all parameters but those that are named here, and so on one that is added later.
    """
    names = [field.name for field in fields(section)]
    if unknown := set(left_out) - set(names):
        raise ValueError(f"{type(section).__name__} has no {', '.join(sorted(unknown))}")
    return {name: getattr(section, name) for name in names if name not in left_out}


def key_of(parts: Sequence[Any]) -> str:
    """Return the SHA-256 of plain values, dataclasses, paths' names and bytes, each separated from its neighbours."""
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
