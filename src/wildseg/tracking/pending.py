"""The run that a stage leaves to the next one: from the training of `cam` to that of `train`, and from there to `eval`.

Its id is in ``.wildseg/tracking.json``, which neither git nor DVC tracks: it changes from run to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import WildsegError
from wildseg.core.files import load_json, save_json
from wildseg.tracking.store import MlflowStore

if TYPE_CHECKING:
    from mlflow.entities import Run


def record_path(artifacts: Artifacts) -> Path:
    """Return the path of the record."""
    return artifacts.root / ".wildseg" / "tracking.json"


def remember(
    artifacts: Artifacts, store: MlflowStore, run_id: str, stage: str, training: str = "", model: str | None = None
) -> None:
    """Record the run of a training.

    Args:
        artifacts: the pipeline's files.
        store: where the run is.
        run_id: of the run.
        stage: whose training it is, ``cam`` or ``train``.
        training: what identifies that training, if it is known.
        model: digest of models/segmenter, once it is trained.
    """
    record = {"run_id": run_id, "store": store.digest, "stage": stage, "training": training, "model": model}
    save_json(record_path(artifacts), record)


def pending(
    store: MlflowStore, artifacts: Artifacts, flat: Mapping[str, str], fits: Callable[[Mapping[str, Any]], bool]
) -> Run | None:
    """Return the recorded run if its record fits, it is of this store, and none of its parameters has changed."""
    try:
        record = load_json(record_path(artifacts))
    except WildsegError:
        return None
    if record.get("store") != store.digest or not fits(record):
        return None
    run = store.run_or_none(str(record.get("run_id")))
    if run is None or any(flat.get(key, value) != value for key, value in run.data.params.items()):
        return None
    return run


def end_interrupted(store: MlflowStore, artifacts: Artifacts) -> None:
    """Mark the recorded run as killed if it is still running: a training that was killed could not report it."""
    with suppress(WildsegError):
        record = load_json(record_path(artifacts))
        run = store.run_or_none(str(record.get("run_id"))) if record.get("store") == store.digest else None
        if run is not None and run.info.status == "RUNNING":
            store.client.set_terminated(run.info.run_id, "KILLED")
