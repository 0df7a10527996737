"""The process that programs are forked from: a script that tests/forks.py starts, and that nothing imports.

It imports what programs spend their first seconds on, and none of this project's code, which each fork finds by its
own PYTHONPATH. For each connection to its socket it forks twice: a process that waits for the program, tells its
client how it ended and hands signals on, and the program itself, with the client's arguments, folder, environment,
standard input and outputs.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress

LIBRARIES = (
    # of stages
    "PIL.Image", "PIL.ImageCms", "PIL.ImageSequence", "av.subtitles.stream", "click", "cv2", "numpy", "open_clip",
    "psutil", "pydensecrf.densecrf", "ruamel.yaml", "safetensors.torch", "scenedetect", "scipy.ndimage",
    "scipy.optimize", "segmentation_models_pytorch", "torch", "torch._dynamo", "tqdm", "transformers", "yaml",
    # of stages that record a run
    "mlflow", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store",
    # of DVC
    "dvc.cli", "dvc.cli.parser", "dvc.commands.experiments.run", "dvc.commands.repro", "dvc.commands.status",
    "dvc.repo", "dvc.repo.experiments.executor.local", "dvc.repo.graph", "dvc.repo.index", "dvc.repo.plots",
    "dvc.repo.reproduce", "dvc.repo.status", "dvc.stage.run", "dvc_objects.fs.local", "networkx", "wcwidth",
)  # fmt: skip


def connection_of_a_fork(listener: socket.socket) -> socket.socket | None:
    """Fork for each client, and return its connection in the fork; in the server None, once its own input ends."""
    while True:
        readable, _, _ = select.select([listener, 0], [], [])
        if 0 in readable:
            return None
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return connection
        connection.close()


def request(connection: socket.socket) -> tuple[dict, list[int]]:
    """Receive what is to be run, and the three descriptors that it reads and writes."""
    size, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb", buffering=0) as stream:
        content = b""
        while len(content) < int.from_bytes(size, "big"):
            content += stream.read(int.from_bytes(size, "big") - len(content))
    return json.loads(content), descriptors


def wait_for(program: int, connection: socket.socket) -> None:
    """Hand on each byte of the client as a signal, its end as SIGKILL; send how the program ended, and end."""
    ended = os.pidfd_open(program)
    while ended not in select.select([ended, connection], [], [])[0]:
        number = connection.recv(1)
        with suppress(ProcessLookupError):
            os.kill(program, number[0] if number else signal.SIGKILL)
        if not number:
            break
    status = os.waitpid(program, 0)[1]
    with suppress(OSError):
        connection.sendall(status.to_bytes(4, "big"))
    os._exit(0)


def become(wanted: dict, descriptors: list[int]) -> None:
    """Take over the client's folder, environment, arguments, input and outputs."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    code = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # noqa: PTH100
    sys.path[:1] = [os.path.dirname(wanted["program"]), *code]  # noqa: PTH120
    sys.argv = [wanted["program"], *wanted["arguments"]]


def exit_code(program: str) -> int:
    """Run a program, and return its exit code as Python would."""
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> None:
    """End as Python does, up to the freeing of a million objects that were there before the program."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Serve until the standard input ends; in a fork, be the program."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(64)
        print("listening", flush=True)  # who connects meanwhile is served once all is imported
        for name in LIBRARIES:
            importlib.import_module(name)
        assert not [name for name in sys.modules if name.split(".")[0] in ("wildseg", "wildseg_demo", "tests")]
        assert len(os.listdir("/proc/self/task")) == 1, "a fork has none of the other threads"  # noqa: PTH208
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the processes that wait are not waited for
        connection = connection_of_a_fork(listener)
    if connection is None:
        end(0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    wanted, descriptors = request(connection)
    if program := os.fork():
        for descriptor in (0, 1, 2, *descriptors):
            os.close(descriptor)  # a pipe ends with the program
        wait_for(program, connection)
    connection.close()
    become(wanted, descriptors)
    end(exit_code(wanted["program"]))


if __name__ == "__main__":
    main()
