"""Programs of this environment as forks of one process that has imported their libraries, PyTorch and DVC among them.

A program of its own imports for three to six seconds before its first line; a fork begins with that line. What tests
see is the same program: its arguments, folder, environment, outputs, exit code, and its code, which is not imported
before. Not the same are its parent, its process group and its seed of hashes, so tests of which processes end with
which, of the first seconds of a program and of what it imports start the program itself.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import huggingface_hub.constants

SERVER = Path(__file__).parent / "fork_server.py"
POSSIBLE = sys.platform == "linux"

# By which libraries start no thread when they are imported: a fork would be without it.
WITHOUT_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "MLFLOW_DISABLE_TELEMETRY": "true"}

# Takes some 20 ms: -I and -S leave out the environment and the packages that are installed. A stage that is a fork is
# no child of its `dvc`, and ends with it all the same, by its client, whatever shells stand between the two.
CLIENT = """\
#!{python} -IS
import json, os, select, signal, socket, sys
ends_with = []
if "DVC_STAGE" in os.environ:
    pid = os.getppid()
    while b"DVC_STAGE=" in open(f"/proc/{{pid}}/environ", "rb").read():
        pid = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
    ends_with.append(os.pidfd_open(pid))
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
wanted = dict(program={program!r}, arguments=sys.argv[1:], folder=os.getcwd(), environment=dict(os.environ))
content = json.dumps(wanted).encode()
socket.send_fds(connection, [len(content).to_bytes(4, "big")], [0, 1, 2])
connection.sendall(content)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: connection.send(bytes([number])))
if connection not in select.select([connection, *ends_with], [], [])[0]:
    sys.exit("dvc is gone")
status = connection.recv(4)
if not status:
    sys.exit("the process that waits is gone")
code = os.waitstatus_to_exitcode(int.from_bytes(status, "big"))
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """Write clients named `dvc` and `wildseg`, serve them, and return their folder, which is to come first in PATH."""
    address = folder / "socket"
    for name in ("dvc", "wildseg"):
        program = Path(sys.executable).parent / name
        client = folder / name
        client.write_text(CLIENT.format(python=sys.executable, address=str(address), program=str(program)))
        client.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | WITHOUT_THREADS
    with subprocess.Popen(
        [sys.executable, str(SERVER), str(address)], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        yield folder
        server.stdin.close()


# Workers -------------------------------------------------------------------------------------------------------------


class Worker(ForkServerProcess):
    """A worker that is a fork, with the environment that a spawned one would have now."""

    def start(self) -> None:
        """Note the environment: that of the server is older."""
        self.environment = dict(os.environ)
        super().start()

    def run(self) -> None:
        """Take the environment over before anything else, also where a library read it when it was imported."""
        os.environ.clear()
        os.environ.update(self.environment)
        importlib.reload(huggingface_hub.constants)
        super().run()


class Workers(ForkServerContext):
    """Stands for `wildseg.execution.children.context` where a test is about what workers compute."""

    Process = Worker  # type: ignore[assignment]

    def __init__(self) -> None:
        """Name what the server imports when it starts, with the first worker."""
        super().__init__()
        self.set_forkserver_preload(
            ["tests.forks", "torch", "open_clip", "segmentation_models_pytorch", "transformers"]
        )
