"""MLflow without output of its own, and its errors as one line."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from wildseg.core.errors import words_of
from wildseg.core.text import shorten_middle

LONGEST = 601  # letters of a reason

# A server that is down is noticed within seconds instead of minutes; no telemetry; no bars and addresses on the
# terminal. Variables that are set already take precedence.
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
    """Silence MLflow and set the time limits of `ENVIRONMENT`; both are restored afterwards."""
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


def short_reason(error: BaseException) -> str:
    """Return the message of an error and that of its first cause, on one line, without a password in an address.

    Of what is longer than `LONGEST` letters the middle is left out: what to do often stands at the end.
    """
    root = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    text, cause_text = _one_line(error), _one_line(root)
    if cause_text in text:
        return shorten_middle(text, LONGEST)
    return shorten_middle(cause_text if text in cause_text else f"{text}: {cause_text}", LONGEST)


def _one_line(error: BaseException) -> str:
    text = words_of(str(error)) or type(error).__name__
    return re.sub(r"//[^/@\s]*@", "//", text)
