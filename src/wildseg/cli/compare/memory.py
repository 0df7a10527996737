"""The most memory that a piece of work takes beyond what was there before it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

MIB = 2**20
RESET = "5"  # what makes Linux begin anew with the highest resident size: proc_pid_clear_refs(5)


def peak_mib(work: Callable[[], object], device: torch.device) -> float:
    """Do `work`, and return its peak above what was taken before, in MiB; NaN where the system does not tell.

    On a GPU of its memory, else of this process's resident memory, by Linux's own account, which misses no moment. What
    the C library keeps of earlier work is given back before, so that it does not hide what `work` takes.
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
