"""SQLite as the store of MLflow: its address, a check that it opens, and a lock while its tables are created."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from wildseg.core.errors import WildsegError, check_regular
from wildseg.core.project_root import project_root


def default_uri(root: Path) -> str:
    """Return the address of the store that is used where `MLFLOW_TRACKING_URI` is not set.

    Raises:
        WildsegError: no address can be made of the folder's path.
    """
    return _sqlite_uri(project_root(root) / "mlflow.db")


def absolute(uri: str, folder: Path) -> str:
    """Return the address of a store, a relative SQLite file as one of `folder`.

    That is the folder of the project, which is not always the one a stage runs in: see `project_root`.
    """
    path = database_of(uri)
    if path is None or path.is_absolute():
        return uri
    query = uri.partition("?")[2]
    return _sqlite_uri(folder / path) + (f"?{query}" if query else "")


def database_of(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for any other store."""
    if not uri.startswith("sqlite:"):
        return None
    from sqlalchemy.engine import make_url

    return Path(make_url(uri).database or "")


def _sqlite_uri(path: Path) -> str:
    """Return the address of a SQLite database, such that SQLAlchemy finds this very file.

    A question mark would begin a query. Newer versions of SQLAlchemy decode escapes in a path, older ones do not: so
    both forms are parsed, and the one that gives this path is returned.

    Raises:
        WildsegError: neither form does.
    """
    for text in (str(path), str(path).replace("%", "%25").replace("?", "%3F")):
        if database_of(uri := f"sqlite:///{text}") == path:
            return uri
    raise WildsegError(f"{path}: MLflow cannot address a file with '?' or '%' in its path; set MLFLOW_TRACKING_URI")


def check(path: Path) -> None:
    """Open a database once: MLflow retries one that cannot be opened for minutes, and does not name it.

    Raises:
        WildsegError: it cannot be opened, or is no database.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_regular(path)
        with closing(sqlite3.connect(path, timeout=10)) as database:
            database.execute("PRAGMA schema_version")
    except (OSError, sqlite3.Error) as error:
        raise WildsegError(f"{path}: {error}") from error


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the lock beside a database: two processes that create its tables at once would break each other.

    Where the file system has no locks, as on some network disks, there is none.
    """
    database = database.resolve()
    with ExitStack() as opened:
        with suppress(OSError):
            stream = opened.enter_context(database.with_name(f"{database.name}.lock").open("a"))
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def no_stray_folder(uri: str) -> Iterator[None]:
    """Remove empty folders that MLflow creates for a database whose address has escapes: it does not decode them."""
    stray = Path(uri.removeprefix("sqlite:///").partition("?")[0]).parent
    made = [folder for folder in (stray, *stray.parents) if not folder.exists()]
    try:
        yield
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
