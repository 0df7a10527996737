"""What a run of MLflow says of itself beside numbers: its description, its data set, and what started it."""

from __future__ import annotations

import getpass
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import WildsegError
from wildseg.core.files import sha256_of
from wildseg.core.text import shorten
from wildseg.tracking.provenance import lock_digests

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

    from wildseg.execution.params import Params

DIGEST = 32  # letters of a data set's digest; MLflow takes 36
NAME = 200  # letters of its name


def description(params: Params, headline: Mapping[str, float | None]) -> str:
    """Return a text in Markdown: methods, and the headline as a table. It names no class, nor anything else typed."""
    refine = f" with {params.cam.refine}" if params.cam.refine != "none" else ""
    lines = [
        f"Labels by `{params.label.method}`, maps by `{params.cam.method}`{refine}, a `{params.train.architecture}` on "
        f"`{params.train.encoder}`, trained with `{params.train.loss}`.",
        "",
        "| measure | value |",
        "| --- | --- |",
        *(f"| {name} | {value:.3f} |" for name, value in headline.items() if value is not None),
        "",
        "The page of the report is among the artifacts; it shows its frames where it lies, in `metrics/report`.",
    ]
    return "\n".join(lines)


def source() -> dict[str, str]:
    """Return the tags that MLflow's page shows as source and user of a run."""
    tags = {"mlflow.source.name": "dvc.yaml", "mlflow.source.type": "PROJECT"}
    with suppress(OSError, KeyError, ImportError):  # a user without a name, as in some containers
        tags["mlflow.user"] = getpass.getuser()
    return tags


def data_set(artifacts: Artifacts, params: Params) -> DatasetInput | None:
    """Return the key frames as a data set: name and digest, the path of their source, and how many there are.

    None where there are no key frames.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    path = params.extract.source
    try:
        frames = artifacts.load_frames()
    except WildsegError:
        return None
    digest = lock_digests(artifacts.root).get("extract", {}).get("data/frames") or sha256_of(
        artifacts.frames_folder / "frames.csv"
    )
    splits = Counter(frame.split for frame in frames)
    profile = {"key_frames": len(frames), "sources": len({frame.source for frame in frames}), **splits}
    found = Dataset(
        name=shorten(Path(path).name or path, NAME),
        digest=digest[:DIGEST],
        source_type="local",
        source=json.dumps({"uri": path}),
        profile=json.dumps(profile),
    )
    return DatasetInput(found, [InputTag("mlflow.data.context", "training")])
