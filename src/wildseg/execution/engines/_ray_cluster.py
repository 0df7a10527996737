"""Coming to a Ray cluster: connecting in silence, and making sure that its machines run this code in this folder."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.core.errors import WildsegError
from wildseg.core.text import error_line
from wildseg.execution import fingerprint
from wildseg.execution.runtime import Runtime

if TYPE_CHECKING:
    from types import ModuleType

ADDRESS = "RAY_ADDRESS"
MARKS = Path(".wildseg") / "ray"  # files by which a worker knows that its folder is this one
OBJECTS = 200 * 2**20  # bytes of shared memory for a cluster of our own: only names and counts travel
PASSED_ON = ("WILDSEG_", "HF_", "TORCH_", "CUBLAS_")  # the variables that a worker may need, by how they begin
SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD")  # and never those: Ray shows a run's variables to whoever looks at it
SECONDS_TO_A_CLUSTER = 20.0
SECONDS_TO_A_MACHINE = 120.0

# What Ray says of itself would bury the one line of progress. A person who looks for a fault may set these to speak.
SILENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
}
HIDDEN = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}  # a worker that was given no GPU sees none


@dataclass(frozen=True)
class Place:
    """Where the work is: the project's folder, a file in it that nobody else has, and the fingerprint of the code."""

    folder: Path
    mark: Path
    code: str

    def enter(self) -> None:
        """Go there, on the machine that this is called on.

        Raises:
            WildsegError: the folder, or the code that this process imports, is another one than where the run began.
        """
        host = socket.gethostname()
        if not (self.folder / self.mark).is_file():
            raise WildsegError(
                f"WILDSEG_ENGINE=ray: expected the folder {self.folder} of this project on every machine, found none "
                f"on {host}; mount the same storage there under the same path (docs/scale.md)"
            )
        if fingerprint.fingerprint() != self.code:
            raise WildsegError(
                f"WILDSEG_ENGINE=ray: expected the code of {self.folder} on every machine, found another in "
                f"{fingerprint.PACKAGE} on {host}; set PYTHONPATH=src, as dvc.yaml does, or install the same version"
            )
        os.chdir(self.folder)


@contextmanager
def connected(runtime: Runtime) -> Iterator[ModuleType]:
    """Give Ray, connected to the cluster at `RAY_ADDRESS`, or to one on this machine that ends with the ``with``.

    Raises:
        WildsegError: Ray is not installed, or no cluster answers.
    """
    ray = load()
    address = given_address()
    if address.startswith("ray://"):
        raise WildsegError(
            f"{ADDRESS}: expected auto or host:port, found {address!r}; run wildseg on a machine of the cluster, not "
            "through Ray's client"
        )
    settings = {"runtime_env": {"env_vars": _variables()}, "log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        _knock(address)
        with _no_errors_shown():
            ray.init(**({"address": address} if address else _near(runtime)), **settings)
    except (OSError, RuntimeError, ValueError) as error:
        reason = error_line(error)
        raise WildsegError(
            f"{ADDRESS}: expected a Ray cluster, found none at {address or 'this machine'} ({reason}); start one with "
            "'ray start --head', or unset it"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def given_address() -> str:
    """Return where a person says that a cluster is; empty if one is to be started here."""
    address = os.environ.get(ADDRESS, "")
    return "" if address == "local" else address


def load() -> ModuleType:
    """Import Ray and Ray Data.

    Raises:
        WildsegError: they are not installed.
    """
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise WildsegError(
            f"WILDSEG_ENGINE: ray needs a package that is not installed ({error}); pip install 'wildseg[ray]'"
        ) from error
    if not os.environ.get("RAY_DATA_LOG_LEVEL"):
        logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
    return ray


def _near(runtime: Runtime) -> dict[str, Any]:
    gpus = {"num_gpus": 0} if runtime.device == "cpu" else {}
    size = {"num_cpus": runtime.workers, "object_store_memory": OBJECTS, **gpus}
    return {"address": "local", "include_dashboard": False, **size}


def _knock(address: str) -> None:
    # Ray itself would knock for minutes at a door behind which nobody lives.
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_A_CLUSTER).close()


@contextmanager
def _no_errors_shown() -> Iterator[None]:
    # Ray's own log announces on file descriptor 2 that it will be silent.
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


@contextmanager
def marked(ray: ModuleType, module: str) -> Iterator[Place]:
    """Give the `Place` of this folder once every machine of the cluster has found it and imported `module`.

    Raises:
        WildsegError: a machine does not see this folder, or has other code.
    """
    place = Place(Path.cwd(), MARKS / secrets.token_hex(8), fingerprint.fingerprint())
    mark = place.folder / place.mark
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        _visit(ray, place, module)
        yield place
    finally:
        mark.unlink(missing_ok=True)


def _visit(ray: ModuleType, place: Place, module: str) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A function inside a function travels as it is; any other is imported there, which fails where our code is not.
    folder, mark = str(place.folder), str(place.mark)

    def find() -> str | None:
        import importlib
        from pathlib import Path

        if not (Path(folder) / mark).is_file():
            return "no such folder"
        try:
            importlib.import_module(module)
        except ImportError as error:
            return str(error)
        return None

    visits = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):  # others compute nothing
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked = ray.remote(find).options(num_cpus=0, scheduling_strategy=there, max_retries=0)
            visits[asked.remote()] = node["NodeManagerHostname"]
    for answer, host in visits.items():
        try:
            problem = ray.get(answer, timeout=SECONDS_TO_A_MACHINE)
        except ray.exceptions.RayError as error:
            problem = error_line(error)
        if problem:
            raise WildsegError(
                f"WILDSEG_ENGINE=ray: expected the folder {place.folder} of this project, with its code, on every "
                f"machine; {host} says: {problem}; mount the same storage there under the same path (docs/scale.md)"
            )


def _variables() -> dict[str, str]:
    # PYTHONPATH=src, as dvc.yaml has it, means the project's folder, and a worker starts in another.
    passed_on = HIDDEN | {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PASSED_ON) and not any(word in name.upper() for word in SECRET)
    }
    if path := os.environ.get("PYTHONPATH"):
        passed_on["PYTHONPATH"] = os.pathsep.join(str(Path(entry).resolve()) for entry in path.split(os.pathsep))
    return passed_on
