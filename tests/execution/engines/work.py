"""What workers are given to do in tests; in a file of its own, since a worker on a cluster imports it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from wildseg.core.errors import DataError


def take_rank(rank: int) -> int:
    return rank


def refuse(rank: int) -> int:
    raise DataError(f"no model for worker {rank}")


def slow_square_below_55(number: int, rank: int) -> tuple[int, int, str]:
    time.sleep(0.05)  # so that no worker can take all
    if number == 55:
        raise DataError("item 55")
    return number * number, os.getpid(), str(Path.cwd())


def visible_gpus(number: int, rank: int) -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def square_and_note_pid(number: int, rank: int) -> int:
    with Path("attempts").open("a", encoding="utf-8") as file:
        file.write(f"{number} {os.getpid()}\n")
    time.sleep(0.05)
    return number * number


def has_a_bug_at_five(number: int, rank: int) -> int:
    return number // (number - 5) if number >= 5 else number


def die_at_nine(number: int, rank: int) -> int:
    if number == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return number
