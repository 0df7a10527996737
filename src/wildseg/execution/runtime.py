"""Processes and device of a run: they never change results, so they are not in params.yaml.

Read from the environment: `WILDSEG_WORKERS` (default: the usable cores), `WILDSEG_DEVICE` (default: `auto`; or `cpu`,
`cuda`, `cuda:1`, ...) and `WILDSEG_ENGINE` (default: `local`; or `ray`, see `wildseg.execution.worker_pool`).
`WILDSEG_REQUESTS` (default: 4) is the number of concurrent requests to a language server,
`WILDSEG_REQUESTS_PER_MINUTE` their rate.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wildseg.core import lookup
from wildseg.core.errors import WildsegError

ENGINE = "WILDSEG_ENGINE"
ENGINES = "execution.engines"  # the folder of those that exist
MOST = 1024  # processes, or concurrent requests
PER_MINUTE = 10**6


@dataclass(frozen=True)
class Runtime:
    """Worker processes and the torch device's name; ``"auto"`` is resolved where torch is imported.

    `chosen`: the number of workers is set by the user, and not by the number of this machine's cores. `requests` and
    `per_minute` are for language servers; None is without limit.
    """

    workers: int
    device: str
    engine: str = "local"
    chosen: bool = False
    requests: int = 4
    per_minute: int | None = None

    @classmethod
    def from_environment(cls) -> Runtime:
        """Read `WILDSEG_WORKERS`, `WILDSEG_DEVICE` and `WILDSEG_ENGINE`.

        Raises:
            WildsegError: a number is not a positive integer, or there is no such engine.
        """
        workers = _number("WILDSEG_WORKERS")
        engine = os.environ.get(ENGINE) or "local"
        lookup.check(ENGINES, engine, ENGINE)
        device = os.environ.get("WILDSEG_DEVICE") or "auto"
        requests, per_minute = _number("WILDSEG_REQUESTS") or 4, _number("WILDSEG_REQUESTS_PER_MINUTE", PER_MINUTE)
        return cls(workers or _usable_cores(), device, engine, workers is not None, requests, per_minute)


def _number(variable: str, most: int = MOST) -> int | None:
    text = os.environ.get(variable, "")
    # Its length first: Python turns no text of thousands of digits into a number.
    if text and not (text.isdecimal() and (len(text) >= 20 or int(text) > 0)):
        raise WildsegError(f"{variable}: expected a positive whole number, found {text[:40]!r}")
    if text and (len(text) >= 20 or int(text) > most):
        raise WildsegError(f"{variable}: expected at most {most}, found {text[:40]}")
    return int(text) if text else None


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: of all cores, those that this process was given
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# Files of drivers that torch could use: NVIDIA on Linux, in WSL, and AMD. Checked before torch is imported, which takes
# seconds.
_DRIVERS = ("/proc/driver/nvidia", "/dev/dxg", "/dev/kfd")


def has_driver() -> bool:
    """Return whether this machine has a driver of a GPU that torch could use."""
    return any(Path(path).exists() for path in _DRIVERS)


def gpus(runtime: Runtime) -> list[str]:
    """Return the names of this machine's GPUs that a run may use; none where it computes on the CPU.

    torch is imported only where there is a driver, or a device is named.
    """
    if runtime.device == "cpu" or (runtime.device == "auto" and not has_driver()):
        return []
    import torch

    if runtime.device == "auto":
        return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    with suppress(RuntimeError, AssertionError):  # no such device: reported where it is used
        return [torch.cuda.get_device_name(runtime.device)]
    return [runtime.device]


def worker_device(name: str, rank: int) -> str:
    """Resolve the device of the worker `rank`, and limit it to one core where it computes on the CPU.

    Cores are used by several workers rather than by several threads of one: that is faster, and the sums, which depend
    on the number of threads in their last bit, are the same for any number of workers.

    Raises:
        WildsegError: there is no such device.
    """
    import torch

    device = torch_device(name)
    if device == "cpu":
        torch.set_num_threads(1)
    elif name == "auto":
        device = f"cuda:{rank % torch.cuda.device_count()}"
    return device


def torch_device(name: str, key: str = "WILDSEG_DEVICE") -> str:
    """Resolve ``"auto"`` to ``"cuda"`` where torch finds a GPU, else ``"cpu"``; `key` named it, for the error line.

    Raises:
        WildsegError: there is no such device, or a GPU is required and none is found.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise WildsegError(f"{key}: expected a GPU for {name!r}, and torch finds none; use 'cpu' or 'auto'")
    try:
        torch.zeros(1, device=name).cpu()
    except Exception as error:  # also for "cuda:7" where there are two; each kind of device has an error of its own
        raise WildsegError(
            f"{key}: expected auto, cpu or cuda, found {name[:40]!r} ({_first_sentence(error)})"
        ) from error
    return name


def _first_sentence(error: Exception) -> str:
    # Messages of torch may have a thousand letters about its internals.
    return re.split(r"[.!;:]\s|\n", str(error), maxsplit=1)[0][:100] or type(error).__name__
