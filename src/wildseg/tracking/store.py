"""The MLflow store of a pipeline: connecting to it, and writing parameters, tags, metrics and files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wildseg.core.errors import WildsegError
from wildseg.core.project_root import project_root
from wildseg.tracking.sqlite import absolute, check, database_of, default_uri, locked, no_stray_folder
from wildseg.tracking.values import unique_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT = "wildseg"
AT_ONCE = 100  # parameters or tags in one request: MLflow's limit
POINTS_AT_ONCE = 1000  # the same for points of metrics


@dataclass(frozen=True)
class MlflowStore:
    """An MLflow client and the experiment that runs belong to."""

    uri: str
    client: MlflowClient
    experiment_id: str

    @property
    def digest(self) -> str:
        """A digest that identifies this store and experiment, and reveals no password."""
        return hashlib.sha256(f"{self.uri} {self.experiment_id}".encode()).hexdigest()[:16]

    @property
    def shown_uri(self) -> str:
        """The address, without a password."""
        return re.sub(r"//[^/@]*@", "//", self.uri)  # it may hold spaces

    def run_or_none(self, run_id: str) -> Run | None:
        """Return the run of this id unless it is unknown or deleted."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def log_params(self, run_id: str, flat: Mapping[str, str]) -> None:
        """Log parameters; those that are there already must have the same value."""
        from mlflow.entities import Param

        params = [Param(key, value) for key, value in flat.items()]
        for start in range(0, len(params), AT_ONCE):
            self.client.log_batch(run_id, params=params[start : start + AT_ONCE])

    def log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, over those of the same name."""
        from mlflow.entities import RunTag

        named: dict[str, RunTag] = {}
        for key, value in tags.items():
            name = unique_name(key, named)
            named[name] = RunTag(name, value)
        waiting = list(named.values())
        for start in range(0, len(waiting), AT_ONCE):
            self.client.log_batch(run_id, tags=waiting[start : start + AT_ONCE])

    def log_metrics(self, run_id: str, points: Sequence[Metric]) -> None:
        """Add points to metrics."""
        for start in range(0, len(points), POINTS_AT_ONCE):
            self.client.log_batch(run_id, metrics=points[start : start + POINTS_AT_ONCE])

    def last_step(self, run_id: str, metric: str) -> int:
        """Return the largest step of a metric in a run; 0 where it has no point."""
        return max((point.step for point in self.client.get_metric_history(run_id, metric)), default=0)

    def log_files(self, run_id: str, files: Sequence[Path], folder: str) -> None:
        """Copy `files` to the run's `folder`."""
        for path in files:
            self.client.log_artifact(run_id, str(path), folder)


def connect(root: Path) -> MlflowStore:
    """Connect to the store and the experiment of the pipeline in `root`; both are created where they are missing.

    Raises:
        Exception: whatever MLflow raises when there is no such store, or it does not respond.
    """
    from mlflow import MlflowClient

    uri = absolute(os.environ.get("MLFLOW_TRACKING_URI") or default_uri(root), project_root(root))
    path = database_of(uri)
    if path is None:
        client = MlflowClient(tracking_uri=uri)
        return MlflowStore(uri, client, _experiment(client, files=None))
    check(path)
    with locked(path), no_stray_folder(uri):
        client = MlflowClient(tracking_uri=uri)
        return MlflowStore(uri, client, _experiment(client, files=project_root(root) / "mlartifacts"))


def _experiment(client: MlflowClient, files: Path | None) -> str:
    """Return the id of the experiment, created if missing; its files go to the folder `files`, or to MLflow's default.

    MLflow writes the absolute path into the database, so in a project that was moved or copied the experiment still
    points at the old place: then one of the same name with a number is used, as for a deleted one.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    for candidate in (name, *(f"{name}-{number}" for number in range(2, 100))):
        found = client.get_experiment_by_name(candidate)
        if found is None:
            return str(client.create_experiment(candidate, artifact_location=files and _locations(files)[0]))
        if found.lifecycle_stage == "active" and (files is None or found.artifact_location in _locations(files)):
            return str(found.experiment_id)
    raise WildsegError(f"expected an experiment whose files lie in {files}, found 99 others; delete mlflow.db")


def _locations(folder: Path) -> tuple[str, ...]:
    # The first is what is written: a plain path where possible, as it is easier to read; of these letters MLflow would
    # make parts of an address.
    plain, address = str(folder), folder.as_uri()
    return (address, plain) if set(plain) & set("?#%") else (plain, address, f"file://{plain}")
