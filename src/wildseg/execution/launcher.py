"""Starting a command again as several processes: `WILDSEG_LAUNCH="accelerate launch --num_processes 4"`.

dvc.yaml names the command alone, so that where a stage runs is no part of what it depends on.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable

from wildseg.core.errors import WildsegError

VARIABLE = "WILDSEG_LAUNCH"
DONE = "WILDSEG_LAUNCHED"  # a launcher of one process leaves no other trace
SIZES = (
    "WORLD_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
)  # how launchers say how many there are
RANKS = ("RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")  # and which of them this is


def one_of_several() -> bool:
    """Return whether a launcher (`accelerate launch`, torchrun, mpirun, ...) started this process beside others."""
    return any(size.isdecimal() and int(size) > 1 for size in map(os.environ.get, SIZES) if size)


def launched() -> bool:
    """Return whether a launcher started this process, be it alone or beside others."""
    return DONE in os.environ or one_of_several()


def follows() -> bool:
    """Return whether another process than this one leads, which alone writes and prints."""
    return one_of_several() and any(rank.isdecimal() and int(rank) > 0 for rank in map(os.environ.get, RANKS) if rank)


def again(command: str, before: Callable[[], object] = lambda: None) -> None:
    """Become the launcher that the environment names, which starts ``wildseg <command>`` as often as it is told to.

    Returns where no launcher is named, or where this process was started by one. `before` is called just before.

    Raises:
        WildsegError: it is not the beginning of a command line, or there is no such program.
    """
    wish = os.environ.get(VARIABLE, "")
    if not wish.strip() or launched():
        return
    try:
        words = [*shlex.split(wish), "-m", "wildseg.cli", command]
    except ValueError as error:
        raise WildsegError(f"{VARIABLE}: expected a command line, found {wish!r} ({error})") from error
    os.environ[DONE] = "1"
    before()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        # In place of this process: a signal reaches the launcher, and nothing trains on when this is killed.
        os.execvp(words[0], words)
    except OSError as error:
        raise WildsegError(
            f"{VARIABLE}: expected a launcher such as 'accelerate launch --num_processes 2', found no program "
            f"{words[0]!r} ({error.strerror}); pip install 'wildseg[accelerate]'"
        ) from error
