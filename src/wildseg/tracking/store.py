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
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wildseg.core.errors import WildsegError, check_regular, words_of
from wildseg.core.project_root import project_root
from wildseg.tracking.values import unique_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.models import ModelSignature

EXPERIMENT = "wildseg"
AT_ONCE = 100  # parameters or tags in one request: MLflow's limit
POINTS_AT_ONCE = 1000  # the same for points of metrics
LONGEST = 601  # letters of a reason

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
    """Return the store that is used where `MLFLOW_TRACKING_URI` says nothing.

    Raises:
        WildsegError: no address can be made of the folder's path.
    """
    return _sqlite_uri(project_root(root) / "mlflow.db")


def short_reason(error: BaseException) -> str:
    """Return what went wrong and what that came from, on one line, without a password in an address.

    Of what is longer than `LONGEST` letters the middle is left out: what to do often stands at the end.
    """
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    text, cause_text = _one_line(error), _one_line(root)
    if cause_text in text:
        return _shortened(text)
    return _shortened(cause_text if text in cause_text else f"{text}: {cause_text}")


def _one_line(error: BaseException) -> str:
    text = words_of(str(error)) or type(error).__name__
    return re.sub(r"//[^/@\s]*@", "//", text)


def _shortened(text: str) -> str:
    half = (LONGEST - 5) // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


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
                    loader_module="wildseg.tracking.model",
                    data_path=str(folder),
                    code_paths=[str(Path(__file__).parents[1])],
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

    uri = _absolute(os.environ.get("MLFLOW_TRACKING_URI") or default_uri(root), project_root(root))
    path = _database(uri)
    if path is None:
        client = MlflowClient(tracking_uri=uri)
        return Store(uri, client, _experiment(client, files=None))
    _check_sqlite(path)
    with _one_at_a_time(path), _no_stray_folder(uri):
        client = MlflowClient(tracking_uri=uri)
        return Store(uri, client, _experiment(client, files=project_root(root) / "mlartifacts"))


def _absolute(uri: str, folder: Path) -> str:
    # Relative to the folder of the project, which is not always the folder a stage runs in: see `home`.
    path = _database(uri)
    if path is None or path.is_absolute():
        return uri
    query = uri.partition("?")[2]
    return _sqlite_uri(folder / path) + (f"?{query}" if query else "")


def _database(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for any other store."""
    if not uri.startswith("sqlite:"):
        return None
    from sqlalchemy.engine import make_url

    return Path(make_url(uri).database or "")


def _sqlite_uri(path: Path) -> str:
    """Return the address of a SQLite database, such that SQLAlchemy finds this very file.

    A question mark would begin a query. Newer versions of SQLAlchemy read escapes in a path, older ones do not: so it
    is asked what it makes of either.

    Raises:
        WildsegError: neither will do.
    """
    for text in (str(path), str(path).replace("%", "%25").replace("?", "%3F")):
        if _database(uri := f"sqlite:///{text}") == path:
            return uri
    raise WildsegError(f"{path}: MLflow cannot be told of a file with '?' or '%' in its path; set MLFLOW_TRACKING_URI")


def _check_sqlite(path: Path) -> None:
    # MLflow tries a database that cannot be opened for minutes; ask once, and say which file it is.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_regular(path)
        with closing(sqlite3.connect(path, timeout=10)) as database:
            database.execute("PRAGMA schema_version")
    except (OSError, sqlite3.Error) as error:
        raise WildsegError(f"{path}: {error}") from error


@contextmanager
def _one_at_a_time(database: Path) -> Iterator[None]:
    # Two experiments, of one project or of several, that make the tables of a new database at once would break each
    # other: so the lock lies beside the database. Where none can be had, as on some network disks, it goes without.
    database = database.resolve()
    with ExitStack() as opened:
        with suppress(OSError):
            stream = opened.enter_context(database.with_name(f"{database.name}.lock").open("a"))
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _no_stray_folder(uri: str) -> Iterator[None]:
    # MLflow makes the folder of a database, and reads no escapes in its name.
    stray = Path(uri.removeprefix("sqlite:///").partition("?")[0]).parent
    made = [folder for folder in (stray, *stray.parents) if not folder.exists()]
    try:
        yield
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _experiment(client: MlflowClient, files: Path | None) -> str:
    """Return the id of the experiment, made if need be; `files` is where its runs' files go, None where MLflow says.

    MLflow writes the absolute path into the database, so in a project that was moved or copied the experiment still
    points at the old place: it then gets a namesake with a number, as does one that was deleted.
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
    # The first is what is written: a plain path where one will do, as people read it; of these letters MLflow would
    # make parts of an address.
    plain, address = str(folder), folder.as_uri()
    return (address, plain) if set(plain) & set("?#%") else (plain, address, f"file://{plain}")


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
