"""The processes that a stage must not outlive: the `dvc` that started it, and what stands between the two.

Killing `dvc` alone (a time limit, the system when memory runs out, an editor's stop button) is meant for the run. A
stage that continued would write into the next one. A stage started by hand outlives its shell, as `nohup` requires.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from wildseg.execution import children, launcher

if TYPE_CHECKING:
    from psutil import Process

STAGE = "DVC_STAGE"  # is set by DVC for what it starts
SECONDS = 0.2  # between two checks, where the system gives no notice


def watch() -> None:
    """End this process as soon as one that it must not outlive has ended; at once if one has ended already."""
    try:
        parents = _parents()
    except _Gone:
        _end()
    if not parents:
        return
    if parents[0].pid != os.getppid() or not children.end_with(parents[0].pid):
        _end()
    descriptors = _descriptors(parents)
    if not all(map(_alive, parents)):  # checked once their descriptors are held
        _end()
    threading.Thread(target=_wait, args=(parents, descriptors), name="parents", daemon=True).start()


def started_by_dvc() -> bool:
    """Return whether DVC runs this process as a stage, or a part of one."""
    return bool(os.environ.get(STAGE))


class _Gone(Exception):
    pass


def _parents() -> list[Process]:
    """Return the processes from this one's parent to the `dvc` that runs the stage; or only a launcher, or none.

    Raises:
        _Gone: one of them ended before it was found.
    """
    import psutil  # which DVC needs, too

    if not started_by_dvc():
        # The launcher; none where a cluster starts one process per container, and sets their number in the environment.
        by = psutil.Process().parent() if launcher.launched() else None
        return [by] if by is not None and by.pid > 1 else []
    found: list[Process] = []
    try:
        below = psutil.Process()
        while (parent := below.parent()) is not None:
            found.append(parent)
            if not _has_stage(parent):
                if _may_be_dvc(parent, below):
                    return found
                break
            below = parent
    except psutil.NoSuchProcess as error:
        raise _Gone from error
    raise _Gone  # nothing above but a process that adopts orphans


def _has_stage(process: Process) -> bool:
    """Return whether a process was started for this stage, as shells, `timeout` and launchers between the two are."""
    import psutil

    with suppress(psutil.AccessDenied):
        if environment := process.environ():  # some systems hide that of their own programs
            return environment.get(STAGE) == os.environ[STAGE]
    return not looks_like_dvc(process)


def _may_be_dvc(process: Process, below: Process) -> bool:
    # When dvc has ended, its children are adopted: by process 1, or by a session manager, which has its own session.
    same_session = not hasattr(os, "getsid") or os.getsid(process.pid) == os.getsid(below.pid)
    return looks_like_dvc(process) or (same_session and process.pid != 1)


def looks_like_dvc(process: Process) -> bool:
    """Return whether a process is Python, or names dvc: none that adopts orphans is."""
    import psutil

    try:
        return process.name().lower().startswith(("python", "pypy", "dvc")) or "dvc" in " ".join(process.cmdline())
    except psutil.AccessDenied:
        return False


def _alive(process: Process) -> bool:
    import psutil

    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _descriptors(parents: Sequence[Process]) -> list[int]:
    """Return a descriptor of each process that becomes readable when it ends; none where the kernel has no such."""
    found: list[int] = []
    if sys.platform == "linux":
        try:
            found.extend(os.pidfd_open(parent.pid) for parent in parents)
        except ProcessLookupError:
            _end()
        except OSError:  # an old kernel, or a container that forbids it
            return []
    return found


def _wait(parents: Sequence[Process], descriptors: Sequence[int]) -> None:
    if descriptors:
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        while not poll.poll():
            pass
    else:
        while all(map(_alive, parents)):
            time.sleep(SECONDS)
    _end()


def _end() -> None:
    # As a kill would: nothing more is written, and what is written is complete. No process reads a message.
    children.kill_all(last=True)
    os._exit(1)
