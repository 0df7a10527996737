"""The cost of a computation: its seconds, and its peak memory beyond what was in use before it."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")

MIB = 2**20
RESET = "5"  # resets the peak resident size on Linux: proc_pid_clear_refs(5)


def peak_mib(work: Callable[[], object], device: torch.device) -> float:
    """Run `work` and return its peak memory above what was in use before, in MiB; NaN where the system has no account.

    On a GPU that of its allocator, else the resident memory of this process as Linux accounts for it, which misses no
    moment. Free memory that the C library holds is returned first: it would hide what `work` allocates.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc's
    try:
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text(RESET)
    except (OSError, KeyError):
        work()
        return float("nan")
    work()
    return max(0, _resident("VmHWM") - before) / MIB


def _resident(line: str) -> int:
    status = dict(entry.split(":", 1) for entry in Path("/proc/self/status").read_text().splitlines() if ":" in entry)
    return int(status[line].split()[0]) * 1024


def timed(work: Callable[[], Result], device: torch.device) -> tuple[Result, float]:
    """Run `work` and return its result and its seconds; on a GPU until all that it started has ended."""
    _synchronize(device)  # earlier work is not counted
    start = time.perf_counter()
    result = work()
    _synchronize(device)
    return result, time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
