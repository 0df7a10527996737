"""The device, workers and engine that a run would use, and whether torch finds the GPU of a driver."""

from __future__ import annotations

import os
from collections.abc import Iterator

from wildseg.cli.doctor.finding import Finding
from wildseg.core.errors import WildsegError
from wildseg.execution import runtime
from wildseg.execution.runtime import Runtime


def check(driver: bool | None = None) -> Iterator[Finding]:
    """Yield what a run computes on; `driver` says whether there is one, None to find out."""
    try:
        chosen = Runtime.from_environment()
        device = runtime.torch_device(chosen.device)
    except WildsegError as error:
        yield Finding("stop", str(error), "unset the variable, or correct it (docs/environment.md)")
        return
    names = ", ".join(runtime.gpus(chosen))
    text = f"computes on {device}" + (f" ({names}{_memory()})" if device.startswith("cuda") else "")
    cores = os.cpu_count() or 1
    workers = f"{chosen.workers} workers" if chosen.workers > 1 else "1 worker"
    yield Finding("ok", f"{text} with {workers} on {cores} cores, engine {chosen.engine}")
    if driver is None:
        driver = runtime.has_driver()
    if device == "cpu" and chosen.device == "auto" and driver:
        remedy = "install a build of torch for it (pytorch.org/get-started), or set WILDSEG_DEVICE=cpu"
        yield Finding("note", "this machine has a driver of a GPU, and torch finds none", remedy)


def _memory() -> str:
    import torch

    free, total = torch.cuda.mem_get_info()
    return f", {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
