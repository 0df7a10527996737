"""Weights that params.yaml names: in a file, in the cache of the model hub, or not here yet. Nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wildseg.cli.doctor.finding import Finding
from wildseg.encoders.downloads import OFFLINE
from wildseg.execution.cache_usage import readable
from wildseg.execution.params import Params
from wildseg.stages import preflight

# A model of the hub is fetched through huggingface_hub, anything else through a proxy that is nowhere.
NOWHERE = "http://127.0.0.1:9"
NO_NETWORK = {
    "HF_HUB_OFFLINE": "1",
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
}
ABSENT = (OFFLINE, "could not be fetched", "could not be had")
INSTEAD = "the first run downloads it; where there is no network, see docs/weights.md"


def check(params: Params, root: Path) -> Iterator[Finding]:
    """Yield for each network that a run needs whether its weights are here and fit; each is loaded once, see preflight.

    Weights that are not here are no obstacle, unless HF_HUB_OFFLINE forbids to fetch them.
    """
    file = root / params.clip.pretrained
    if file.is_file():
        yield Finding("ok", f"clip.pretrained: {params.clip.pretrained} ({readable(file.stat().st_size)})")
    elif file.suffix and "/" in params.clip.pretrained:
        remedy = "'git checkout' or 'dvc pull' brings one that the project tracks back; docs/weights.md lists others"
        yield Finding("stop", f"clip.pretrained: there is no file {params.clip.pretrained}", remedy)
    with without_network():
        results = preflight.check_all(params, root)
    yield from _findings(params, results)


def _findings(params: Params, results: Mapping[str, str | None]) -> Iterator[Finding]:
    forbidden = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    for name, problem in results.items():
        named = preflight.named(name, params)
        if problem is None:
            yield Finding("ok", f"{named} is here and fits")
        elif any(mark in problem for mark in ABSENT):
            if forbidden:
                yield Finding("stop", f"{named} is not here, and HF_HUB_OFFLINE forbids to fetch it", "unset it")
            else:
                yield Finding("note", f"{named} is not here yet", INSTEAD)
        else:
            yield Finding("stop", problem)


@contextmanager
def without_network() -> Iterator[None]:
    """Let processes that are started meanwhile reach no host."""
    before = {name: os.environ.get(name) for name in NO_NETWORK}
    os.environ.update(NO_NETWORK)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
