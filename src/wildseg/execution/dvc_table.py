"""DVC's table of the files that each process reads and writes, and the entry of a stage that is run by hand.

Between two stages DVC hashes the outputs of the first, and before a stage it removes its outputs; no stage holds the
project's lock at these moments. So `wildseg <stage>` by hand does as `dvc repro`: it enters the files that it reads
and writes in ``.dvc/tmp/rwlock``, so that neither disturbs the other. DVC removes the entries of processes that have
ended, and `wildseg repair` those of killed ones whose parent never waited for them.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from wildseg.core.errors import WildsegError
from wildseg.core.files import load_json
from wildseg.execution import dvc_yaml

PIPELINES = ("dvc.yaml", "*/dvc.yaml", "*/*/dvc.yaml")  # the project's own, and those beside it


class Busy(WildsegError):
    """A DVC command is using the same files."""


@contextmanager
def entered(root: Path, stage: str) -> Iterator[None]:
    """Enter the files that a stage of the project folder `root` reads and writes; none where DVC is not used.

    Raises:
        Busy: a DVC command writes one of these, or reads what the stage writes.
    """
    repository = next((folder for folder in (root, *root.parents) if (folder / ".dvc").is_dir()), None)
    reads, writes = _files(root, stage)
    with ExitStack() as opened:
        if repository is not None and writes:
            line = _enter(repository / ".dvc", reads, writes)
            opened.push(lambda *_: _leave(line))
        yield


def _enter(folder: Path, reads: list[str], writes: list[str]) -> AbstractContextManager[None] | None:
    """Return the entry as a context to close, or None where there is none: DVC itself reports an incomplete table."""
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc.fs import localfs
    from dvc.lock import LockError
    from dvc.rwlock import rwlock

    try:
        logging.getLogger("dvc.rwlock").setLevel(logging.ERROR)  # it warns of each entry of a killed stage
        (folder / "tmp").mkdir(exist_ok=True)
        hardlink = Config(dvc_dir=str(folder))["core"].get("hardlink_lock", False)
        command = shlex.join(["wildseg", *sys.argv[1:]])
        line = rwlock(str(folder / "tmp"), localfs, command, reads, writes, hardlink)
        line.__enter__()
        return line
    except LockError as error:
        raise Busy(_at_work(str(error), folder / "tmp" / "rwlock")) from error
    except (DvcException, OSError):
        return None


def _leave(line: AbstractContextManager[None] | None) -> None:
    if line is None:
        return
    from dvc.exceptions import DvcException

    with suppress(AssertionError, DvcException, OSError):  # it was removed meanwhile
        line.__exit__(None, None, None)


def _files(root: Path, name: str) -> tuple[list[str], list[str]]:
    """Return the data that a stage reads, and the files and folders that it writes, as its dvc.yaml has them."""
    reads: list[str] = []
    writes: list[str] = []
    for path in (path for pattern in PIPELINES for path in root.glob(pattern)):
        described = dvc_yaml.stage(path, name) or {}
        with suppress(TypeError):
            reads += [str(root / dep) for dep in described.get("deps", []) if "$" not in dep and ".py" not in dep]
            outputs = [*described.get("outs", []), *described.get("metrics", [])]
            writes += [str(root / one) for out in outputs for one in (out if isinstance(out, dict) else (out,))]
    return reads, writes


def _at_work(message: str, table: Path) -> str:
    """Return one line about the DVC command that a message of DVC names by its process."""
    with suppress(WildsegError):
        content = load_json(table)
        lines = [*content.get("write", {}).values(), *(one for own in content.get("read", {}).values() for one in own)]
        for line in lines:
            if f"(PID {line['pid']})" in message:
                program, *rest = line["cmd"].encode("unicode_escape").decode().split(" ")
                command = " ".join([Path(program).name, *rest])
                return f"'{command}' is at work on this project (process {line['pid']})"
    return "a DVC command is at work on this project"
