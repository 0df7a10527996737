"""What all tests share: the order in which files begin, one thread per process, a model hub, no result store."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.forks import POSSIBLE, Workers
from tests.forks import serving as serving_forks
from tests.hub import Hub, serving
from wildseg.execution import children, result_store

# Files that take minutes, the longest first. A process of `make test` runs one file after the other, so that one of
# these begun last would be waited for alone.
LONGEST_FIRST = (
    "pipeline/test_kill.py",
    "execution/engines/test_ray.py",
    "pipeline/test_experiments.py",
    "pipeline/test_real_size.py",
    "pipeline/test_trouble.py",
    "pipeline",
    "stages/test_train_together.py",
    "stages",
    "segment/test_deployed.py",
    "cli/compare",
    "tracking",
)
TESTS = Path(__file__).parent
BACKWARDS = os.environ.get("PYTEST_XDIST_WORKER", "gw0") in ("gw1", "gw3")  # every other of several processes


def pytest_configure() -> None:
    """Give each process one thread, also where it is one of several that run tests: two would take turns on one core.

    Before PyTorch is imported, which reads it once. It is the number that the pipeline's own processes use, too.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Where an environment forbids to keep bytecode, half a minute of rewriting assertions would be done by each process
    # that runs tests, and this code be compiled by each of the hundreds of programs that they start.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # A shell starts what runs in its background with Ctrl-C ignored, and so would be the programs that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Backwards(pytest.Package):
    """A folder of tests from its last file to its first."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Return what is in the folder, the last first."""
        return reversed(list(super().collect()))


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Let two processes meet in the middle: each reads the other half of the tests as the other has compiled it."""
    return Backwards.from_parent(parent, path=path) if BACKWARDS and (path / "__init__.py").is_file() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first; the same order in every process, whichever it has collected them in."""
    items.sort(key=lambda item: (turn(item.path), item.path))


def pytest_collection_finish() -> None:
    """Leave the modules of all tests, a million objects, out of garbage collections: each would take half a second."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let Python end as it does: libraries look whether all that is theirs was freed."""
    gc.unfreeze()


def turn(path: Path) -> int:
    """Return the place of a file among those that begin first; that of all others is behind them."""
    places = (place for place, first in enumerate(LONGEST_FIRST) if path.is_relative_to(TESTS / first))
    return next(places, len(LONGEST_FIRST))


@pytest.fixture(scope="session")
def forks() -> Iterator[Path | None]:
    """The folder of `dvc` and `wildseg` that are forks, to come first in PATH; None where a system has no such."""
    if not POSSIBLE:
        yield None
        return
    with TemporaryDirectory(prefix="forks") as folder, serving_forks(Path(folder)) as served:
        yield served


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers be forks of a process that has imported PyTorch, in tests of what they compute."""
    if POSSIBLE:
        monkeypatch.setattr(children, "context", Workers)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A model hub of this test alone."""
    with serving(tmp_path / "huggingface", monkeypatch) as served:
        yield served


@pytest.fixture(autouse=True)
def nothing_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test shall see what is computed now; tests of the cache switch it on."""
    monkeypatch.setenv(result_store.VARIABLE, "off")
