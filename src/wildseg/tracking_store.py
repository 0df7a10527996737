"""The MLflow store of a pipeline: how it is found, and the few things that are written to it."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wildseg.errors import WildsegError
from wildseg.provenance import home
from wildseg.tracking_values import unique_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.models import ModelSignature

EXPERIMENT = "wildseg"
AT_ONCE = 100  # parameters or tags in one request: MLflow's limit
POINTS_AT_ONCE = 1000  # the same for points of metrics

# A server that is down is noticed within seconds instead of minutes; nobody is phoned; nothing is drawn on the
# terminal. What a person has set in the environment wins.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
NOISY = ("mlflow", "alembic", "urllib3", "sqlalchemy")


@contextmanager
def quiet() -> Iterator[None]:
    """Let MLflow work without a word of its own and with the patience of `ENVIRONMENT`; all is put back after."""
    before = {name: os.environ.get(name) for name in (*ENVIRONMENT, "MLFLOW_TRACKING_URI")}
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if before[name] is None})
    levels: dict[str, int] = {}
    try:
        import mlflow  # noqa: F401  its loggers take their level from it when it is imported first

        levels = {name: logging.getLogger(name).level for name in NOISY}
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def default_uri(root: Path) -> str:
    """Return the store that is used where `MLFLOW_TRACKING_URI` says nothing."""
    return f"sqlite:///{home(root) / 'mlflow.db'}"


def short_reason(error: BaseException) -> str:
    """Return what went wrong and what that came from, in at most 200 characters, without a password in an address."""
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    text, cause_text = _one_line(error), _one_line(root)
    if cause_text in text[:200]:
        return _shortened(text, 200)
    return f"{_shortened(text, 100)}: {_shortened(cause_text, 98)}"


def _one_line(error: BaseException) -> str:
    text = " ".join((str(error) or type(error).__name__).split())
    return re.sub(r"//[^/@\s]*@", "//", text)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


@dataclass(frozen=True)
class Store:
    """An MLflow client and the experiment that runs belong to."""

    uri: str
    client: MlflowClient
    experiment_id: str

    @property
    def digest(self) -> str:
        """A name of this store and experiment that gives away no password."""
        return hashlib.sha256(f"{self.uri} {self.experiment_id}".encode()).hexdigest()[:16]

    @property
    def shown_uri(self) -> str:
        """The address, without a password."""
        return re.sub(r"//[^/@]*@", "//", self.uri)

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

    def log_files(self, run_id: str, files: Sequence[Path], folder: str) -> None:
        """Copy `files` to the run's `folder`."""
        for path in files:
            self.client.log_artifact(run_id, str(path), folder)

    def log_model(self, run_id: str, folder: Path, class_names: Sequence[str]) -> None:
        """Log the network of `folder` as a model of this run, with its signature and its class names by id.

        The model is this package's own loading code beside the safetensors, so that nothing is pickled.
        """
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        try:
            with mlflow.start_run(run_id=run_id, log_system_metrics=False):
                mlflow.pyfunc.log_model(
                    name="segmenter",
                    loader_module="wildseg.tracking_model",
                    data_path=str(folder),
                    code_paths=[str(Path(__file__).parent)],
                    pip_requirements=requirements(),
                    signature=_signature(),
                    metadata={"classes": list(class_names)},
                )
        finally:
            mlflow.set_tracking_uri(None)


def connect(root: Path) -> Store:
    """Find or make the store and the experiment of the pipeline in `root`.

    Raises:
        Exception: whatever MLflow raises when there is no such store, or it does not answer.
    """
    from mlflow import MlflowClient

    uri = _absolute(os.environ.get("MLFLOW_TRACKING_URI") or default_uri(root), home(root))
    if not uri.startswith("sqlite:"):
        client = MlflowClient(tracking_uri=uri)
        return Store(uri, client, _experiment(client, files=None))
    _check_sqlite(Path(uri.removeprefix("sqlite:///")))
    with _one_at_a_time(home(root) / ".wildseg" / "mlflow.lock"):
        client = MlflowClient(tracking_uri=uri)
        return Store(uri, client, _experiment(client, files=home(root) / "mlartifacts"))


def _absolute(uri: str, folder: Path) -> str:
    # Relative to the folder of the project, which is not always the folder a stage runs in: see `home`.
    path = uri.removeprefix("sqlite:///")
    return f"sqlite:///{folder / path}" if uri.startswith("sqlite:///") else uri


def _check_sqlite(path: Path) -> None:
    # MLflow tries a database that cannot be opened for minutes; ask once, and say which file it is.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=10)) as database:
            database.execute("PRAGMA schema_version")
    except (OSError, sqlite3.Error) as error:
        raise WildsegError(f"{path}: {error}") from error


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    # Two experiments of a queue that make the tables of a new database at once would break each other.
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _experiment(client: MlflowClient, files: Path | None) -> str:
    """Return the id of the experiment, made if need be; `files` is where its runs' files go, None where MLflow says.

    MLflow writes the absolute path into the database, so in a project that was moved or copied the experiment still
    points at the old place: it then gets a namesake with a number, as does one that was deleted.
    """
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    for candidate in (name, *(f"{name}-{number}" for number in range(2, 100))):
        found = client.get_experiment_by_name(candidate)
        if found is None:
            return str(client.create_experiment(candidate, artifact_location=files and str(files)))
        if found.lifecycle_stage == "active" and files in (None, _local_path(found.artifact_location)):
            return str(found.experiment_id)
    raise WildsegError(f"expected an experiment whose files lie in {files}, found 99 others; delete mlflow.db")


def _local_path(location: str) -> Path:
    return Path(location.removeprefix("file://"))


def requirements() -> list[str]:
    """Return what the model needs to be loaded, with the versions that are installed here."""
    from importlib.metadata import version

    needed = ("numpy", "pillow", "safetensors", "segmentation-models-pytorch", "torch", "torchvision")
    return [f"{name}=={version(name).split('+')[0]}" for name in needed]


def _signature() -> ModelSignature:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    image = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, 3))])
    mask = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1))])
    return ModelSignature(inputs=image, outputs=mask)
