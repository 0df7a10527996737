"""What a run may use: processes and device. It never changes results, so it is not in params.yaml.

Read from the environment: `WILDSEG_WORKERS` (default: the usable cores) and `WILDSEG_DEVICE` (default: `auto`; or
`cpu`, `cuda`, `cuda:1`, ...).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from wildseg.errors import WildsegError


@dataclass(frozen=True)
class Runtime:
    """Worker processes and the torch device's name; ``"auto"`` is resolved by whoever imports torch."""

    workers: int
    device: str

    @classmethod
    def from_environment(cls) -> Runtime:
        """Read `WILDSEG_WORKERS` and `WILDSEG_DEVICE`.

        Raises:
            WildsegError: the number of workers is not a positive integer.
        """
        text = os.environ.get("WILDSEG_WORKERS", "")
        if text and not (text.isdecimal() and int(text) > 0):
            raise WildsegError(f"WILDSEG_WORKERS: expected a positive whole number, found {text!r}")
        return cls(int(text) if text else len(os.sched_getaffinity(0)), os.environ.get("WILDSEG_DEVICE") or "auto")


def torch_device(name: str) -> str:
    """Resolve ``"auto"`` to ``"cuda"`` where a GPU answers, else ``"cpu"``.

    Raises:
        WildsegError: there is no such device, or a GPU was asked for and none answers.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise WildsegError(f"WILDSEG_DEVICE: {name!r} was asked for, but torch finds no GPU; use 'cpu' or 'auto'")
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, NotImplementedError) as error:  # also for "cuda:7" where there are two
        reason = str(error).split("\n", 1)[0]
        raise WildsegError(f"WILDSEG_DEVICE: expected auto, cpu or cuda, found {name!r} ({reason})") from error
    return name
