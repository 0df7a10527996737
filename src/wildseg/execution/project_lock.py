"""One writer per project folder: a stage holds a lock of the kernel, which is free when its process ends in any way.

DVC prevents two of its own commands from writing the same output. It does not know of a stage that outlives a killed
`dvc`, nor of one that is run by hand beside it; their outputs would be recorded as the result of another run. A queued
experiment runs in a folder of its own, with a lock of its own.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from wildseg.core.errors import WildsegError, check_regular
from wildseg.execution import dvc_table, interruption, launcher, parents

FILE = Path(".wildseg", "lock")
HOLDER = "WILDSEG_LOCK_HOLDER"  # identifies processes of a launcher, on whose behalf the lock is held
SECONDS = 5.0  # that a new process waits, since a killed one may be ending
BUSY = (errno.EAGAIN, errno.EACCES)


class Lock:
    """The lock that this process holds; `descriptor` is None where it is held on its behalf, or cannot be had."""

    def __init__(self, descriptor: int | None, token: str) -> None:
        """Remember the open file, and the secret that is written in it."""
        self._descriptor = descriptor
        self._token = token

    def pass_on(self) -> None:
        """Keep the lock over an `exec`: the program that replaces this process holds it for its children."""
        if self._descriptor is not None:
            os.set_inheritable(self._descriptor, True)
            os.environ[HOLDER] = self._token


@contextmanager
def writing(root: Path, stage: str) -> Iterator[Lock]:
    """Write the outputs of a stage of the project folder `root`: alone, while `dvc` runs, and ended by signals.

    Raises:
        WildsegError: see `held`.
    """
    with interruption.handled():
        parents.watch()
        with held(root, stage) as lock:
            yield lock


@contextmanager
def held(root: Path, stage: str) -> Iterator[Lock]:
    """Hold the lock of the project folder `root`, by which one process alone writes outputs of stages.

    Where the file system has no locks, one line reports it. Of distributed processes only the main one writes.

    Raises:
        WildsegError: another process writes there for longer than a few seconds.
    """
    path, token = root.resolve() / FILE, secrets.token_hex(16)
    if launcher.follows() or _held_on_our_behalf(path):
        yield Lock(None, token)
        return
    with ExitStack() as opened:
        descriptor = _locked(path, stage, opened)
        if descriptor is not None:
            _write(descriptor, _about_us(stage, token))
        yield Lock(descriptor, token)


def holder(root: Path) -> str | None:
    """Return one line about the process that writes the project folder `root`; None where none does.

    Where the file system has no locks, none is known of.
    """
    path = root.resolve() / FILE
    try:
        import fcntl

        check_regular(path)
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except ImportError:  # a system without such locks
        return None
    except OSError as error:
        return _who(_read(path)) if error.errno in BUSY else None
    return None


def _locked(path: Path, stage: str, opened: ExitStack) -> int | None:
    """Return the open file once it is locked, or None where that cannot be; `opened` closes it."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            descriptor = _try(path)
        except ImportError:  # a system without such locks
            return None
        except OSError as error:
            reason = error.strerror or error
            print(f"{stage}: {path} cannot be locked ({reason}); make sure that nothing else writes this project",
                  file=sys.stderr, flush=True)  # fmt: skip
            return None
        in_the_way = _who(_read(path))
        if descriptor is not None:
            with ExitStack() as ours:
                ours.callback(_release, descriptor)
                try:
                    if not parents.started_by_dvc():
                        ours.enter_context(dvc_table.entered(path.parent.parent, stage))
                    opened.push(ours.pop_all())
                    return descriptor
                except dvc_table.Busy as error:
                    in_the_way = str(error)
        if time.monotonic() > deadline:
            raise WildsegError(f"{stage}: {in_the_way}; wait until it ends, or stop it")
        time.sleep(0.1)


def _release(descriptor: int) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def _try(path: Path) -> int | None:
    """Return the open file if it could be locked, None if another process holds it."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # no child inherits it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):  # the folder may have been removed meanwhile
            return descriptor
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in BUSY:
            os.close(descriptor)
            raise
    os.close(descriptor)
    return None


def _held_on_our_behalf(path: Path) -> bool:
    token = os.environ.get(HOLDER)
    return bool(token) and token == _read(path).get("token")


def _about_us(stage: str, token: str) -> dict[str, Any]:
    command = shlex.join(["wildseg", *sys.argv[1:]])
    by = f"stage {os.environ[parents.STAGE]} of dvc" if parents.started_by_dvc() else "by hand"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"command": command, "pid": os.getpid(), "stage": stage, "by": by, "since": since, "token": token}


def _write(descriptor: int, content: Mapping[str, Any]) -> None:
    with suppress(OSError):  # a full disk; the lock is held all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(content).encode(), 0)


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        check_regular(path)  # a named pipe would be read for ever
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            return content
    return {}


def _who(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process writes this project"
    command, pid, by, since = (_shown(holder.get(name)) for name in ("command", "pid", "by", "since"))
    return f"'{command}' writes this project (process {pid}, {by}, since {since})"


def _shown(value: object) -> str:
    return str(value).encode("unicode_escape").decode() or "?"
