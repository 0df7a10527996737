"""The MLflow store: whether it can be reached, belongs to this project, and has runs that nobody ended."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from wildseg.cli.doctor.finding import Finding
from wildseg.core.errors import WildsegError, check_regular
from wildseg.core.project_root import project_root
from wildseg.tracking.sqlite import absolute, database_of, default_uri
from wildseg.tracking.store import EXPERIMENT

SECONDS = 3.0  # for a server to answer
RUNS = "SELECT count(*), sum(status = 'RUNNING') FROM runs WHERE lifecycle_stage = 'active'"
PLACES = "SELECT name, artifact_location FROM experiments WHERE lifecycle_stage = 'active' AND name LIKE ?"


def check(root: Path) -> Iterator[Finding]:
    """Yield whether the store of runs can be reached; a run of the pipeline goes on without one."""
    try:
        uri = absolute(os.environ.get("MLFLOW_TRACKING_URI") or default_uri(root), project_root(root))
    except WildsegError as error:
        yield Finding("note", str(error))
        return
    path = database_of(uri)
    yield from _server(uri) if path is None else _database(path, project_root(root))


def _database(path: Path, root: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("ok", f"MLflow: {path.name} is made by the first training")
        return
    try:
        check_regular(path)
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as database:
            runs, running = database.execute(RUNS).fetchone()
            places = database.execute(PLACES, (f"{EXPERIMENT}%",)).fetchall()
    except (OSError, sqlite3.Error) as error:
        yield Finding("note", f"MLflow: {path.name} cannot be read ({error})",
                      "move it away, and the next training makes another")  # fmt: skip
        return
    yield Finding("ok", f"MLflow: {path.name} has {runs} runs")
    if running:
        yield Finding("note", f"MLflow: {running} runs are marked as running: they train now, or were killed",
                      "the next training ends the last one; others can be ended in 'mlflow ui'")  # fmt: skip
    here = (str(root), root.as_uri(), f"file://{root}")
    if moved := [
        name for name, place in places if "://" not in place.replace("file://", "") and not place.startswith(here)
    ]:
        yield Finding("note", f"MLflow: files of the experiment {moved[0]} lie elsewhere: the project was moved",
                      "earlier runs keep their numbers; the next training begins another experiment")  # fmt: skip


def _server(uri: str) -> Iterator[Finding]:
    address = urlsplit(uri)
    if address.scheme not in ("http", "https") or not address.hostname:
        yield Finding("ok", f"MLflow: the store {address.scheme or uri} is not checked")
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    where = f"{address.hostname}:{port}"
    try:
        with closing(socket.create_connection((address.hostname, port), SECONDS)):
            yield Finding("ok", f"MLflow: {where} answers")
    except OSError as error:
        yield Finding("note", f"MLflow: {where} does not answer ({error.strerror or error})",
                      "start the server, or unset MLFLOW_TRACKING_URI; a training goes on without it")  # fmt: skip
