"""A frame task: what a stage computes for one frame; `wildseg.execution.run_frames` computes it for many, once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from wildseg.core.errors import DataError, SystemFailure
from wildseg.core.files import save_bytes
from wildseg.execution import fingerprint
from wildseg.execution.result_store import Entry

Item = TypeVar("Item")


@dataclass
class FrameTask(ABC, Generic[Item]):
    """What is computed for each frame of a stage; subclasses are dataclasses that hold only what is different.

    A task is pickled to the workers, so its fields are plain values; what `setup` loads is assigned there. What
    `compute` reads again must be what `inputs` gave: stages hold the lock of the project
    (`wildseg.execution.project_lock`), so that no other stage writes it meanwhile.

    root: the project folder.
    """

    root: Path

    stage: ClassVar[str]  # whose name messages begin with
    store: ClassVar[str] = ""  # folder of the result store; that of the stage where it is empty
    libraries: ClassVar[Sequence[str]] = ()  # distributions whose versions results depend on
    uses_model: ClassVar[bool] = False  # whether workers want a GPU each, where there is one
    batch_size: ClassVar[int] = 1  # frames handed to a GPU at a time; a CPU is given one
    keyed_by_workers: ClassVar[bool] = False  # where inputs take long: `inputs` and `restore` are called in workers

    @abstractmethod
    def depends_on(self) -> Mapping[str, Any]:
        """Return what the results of all frames depend on, such as parameters: plain values and dataclasses."""

    def methods(self) -> Sequence[str]:
        """Return the modules of the methods that parameters chose, dotted."""
        return ()

    def code(self) -> str:
        """Return the fingerprint of the code behind a result: this task's module, what it imports, the methods."""
        return fingerprint.digest(type(self).__module__, *self.methods())

    def name(self, item: Item) -> str:
        """Return the name of an item's frame."""
        return str(item)

    @abstractmethod
    def inputs(self, item: Item) -> Iterable[Any]:
        """Return the bytes, or plain values, that the result of one item depends on.

        Raises:
            DataError: they cannot be read.
        """

    def outputs(self, item: Item) -> Mapping[str, Path]:
        """Return where the output files of an item lie, by role."""
        return {}

    def empty_outputs(self) -> None:
        """Remove what an earlier run left; called once, when workers are ready and before the first file is written."""

    def pack(self, frames: Sequence[str]) -> None:
        """Pack the output files of these frames into shards."""

    def restore(self, item: Item, entry: Entry) -> bool:
        """Write the output files of a stored result; False where they are not those of this task."""
        if set(self.outputs(item)) != set(entry.files):
            return False
        write_outputs(self, item, entry)
        return True

    def setup(self, device: str) -> Sequence[str]:
        """Load models on a torch device, in a worker; return remarks that a person should read, once.

        Raises:
            ModelError: the model cannot be had.
        """
        return ()

    @abstractmethod
    def compute(self, item: Item) -> Entry:
        """Return the contents of the output files, by role, and a record that JSON can hold; write nothing.

        What is stored then is what was computed, whoever else writes there.

        Raises:
            DataError: this frame's data cannot be used.
        """

    def compute_batch(self, items: Sequence[Item]) -> Sequence[Entry | DataError]:
        """Return what `compute` returns for each of several items, or the DataError that it alone raises."""
        return [catch_data_error(self.compute, item) for item in items]


def catch_data_error(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    """Return what a function returns, or the DataError that it raises.

    Raises:
        SystemFailure: another run may find nothing wrong.
    """
    try:
        return function(*arguments)
    except SystemFailure:
        raise
    except DataError as error:
        return error


def write_outputs(task: FrameTask[Item], item: Item, entry: Entry) -> None:
    """Write the output files of a result."""
    for role, path in task.outputs(item).items():
        save_bytes(path, entry.files[role])
