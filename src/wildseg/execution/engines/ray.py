"""The processes of a Ray cluster, fed by Ray Data: `WILDSEG_ENGINE=ray`, on one machine or on many.

A worker that is lost, with its machine or without, is started again and its items are computed again. Machines share
the project's folder; what travels are the items, and what comes back is small.
"""

from __future__ import annotations

import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType, TracebackType
from typing import Any, Generic, TypeVar

from wildseg.core.errors import WildsegError
from wildseg.execution import runtime as this_machine
from wildseg.execution.engines import _ray_cluster
from wildseg.execution.engines._ray_cluster import Place
from wildseg.execution.runtime import Runtime

Item = TypeVar("Item")
Result = TypeVar("Result")
Tools = TypeVar("Tools")

AT_ONCE = 64  # items that a worker is sent at a time, and computes again if it is lost
TURNS = 8  # fewer at a time where each worker would be sent to less often than this
# Ray Data keeps about a kilobyte for each item until a whole dataset is done. So there is one dataset after the other,
# each with workers of its own, of so many items for each worker and never more than so many in all.
DATASET, LARGEST = 10_000, 1_000_000
PATIENCE = 60.0  # seconds
LIVES = 4  # times that a worker may be lost at the same items before they are taken for the reason


def worker_pool(runtime: Runtime, items: int, prepare: Callable[[int], Tools], *, model: bool) -> RayPool[Tools]:
    """Return as many workers as `WILDSEG_WORKERS` says, or as the cluster has cores, or GPUs for a model."""
    if runtime.device not in ("auto", "cpu", "cuda"):
        raise WildsegError(
            f"WILDSEG_DEVICE: expected auto, cpu or cuda with WILDSEG_ENGINE=ray, which gives each worker its own GPU; "
            f"found {runtime.device!r}"
        )
    return RayPool(runtime, items, prepare, model)


def gpus(runtime: Runtime) -> list[str]:
    """Return the names of the cluster's GPUs, all taken to be of the kind of one of them."""
    if not _ray_cluster.given_address():
        return this_machine.gpus(runtime)
    if runtime.device == "cpu":
        return []

    def name() -> str:  # inside, so that it travels as it is: whether our code is there has not been asked yet
        import torch

        return torch.cuda.get_device_name(0)

    with _ray_cluster.connected(runtime) as ray, _told():
        number = int(ray.cluster_resources().get("GPU", 0))
        return [ray.get(ray.remote(name).options(num_gpus=1).remote())] * number if number else []


class RayPool(Generic[Tools]):
    """`wildseg.execution.worker_pool.WorkerPool` as actors of Ray."""

    def __init__(self, runtime: Runtime, items: int, prepare: Callable[[int], Tools], model: bool) -> None:
        """Remember what for; nothing is started or asked yet."""
        self._runtime = runtime
        self._items = items
        self._prepare = prepare
        self._model = model
        self._open = ExitStack()
        self._ray: ModuleType
        self._place: Place
        self._number = 1
        self._needs: dict[str, Any] = {}

    def __enter__(self) -> RayPool[Tools]:
        """Connect, have every machine look for this folder, and prepare the tools on one worker.

        Raises:
            Exception: whatever `prepare` raised.
            WildsegError: there is no cluster, or one of its machines does not see this folder.
        """
        with ExitStack() as opened:
            self._ray = opened.enter_context(_ray_cluster.connected(self._runtime))
            self._place = opened.enter_context(_ray_cluster.marked(self._ray))
            self._size_up()
            with _told():
                asked = self._ray.remote(_try_tools).options(**self._needs, max_retries=LIVES - 1)
                answer = asked.remote(self._place, self._prepare)
                if not self._ray.wait([answer], timeout=PATIENCE)[0]:
                    print(
                        f"ray: no worker is ready after {PATIENCE:.0f} s; it waits for a free core or GPU of the "
                        "cluster ('ray status' tells), or still loads its model", file=sys.stderr, flush=True,
                    )  # fmt: skip
                _open_answer(self._ray.get(answer))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the cluster, which ends all workers; end it where it was started here."""
        self._open.close()

    def each(self, function: Callable[[Item, Tools], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield ``function(item, tools)`` for each of `items`, in their order."""
        length = min(DATASET * self._number, LARGEST)
        for start in range(0, len(items), length):
            yield from self._in_order(self._answers(function, items[start : start + length]))

    def _answers(self, function: Callable[[Item, Tools], Result], items: Sequence[Item]) -> Any:  # noqa: ANN401
        import pyarrow
        from ray.data import ActorPoolStrategy, DataContext, from_arrow

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        size = max(1, min(AT_ONCE, len(items) // (self._number * TURNS)))
        tables = [
            pyarrow.table({
                "position": list(range(start, min(start + size, len(items)))),
                "item": [pickle.dumps(item) for item in items[start : start + size]],
            })
            for start in range(0, len(items), size)
        ]  # fmt: skip
        with _told(), _quietly():
            return from_arrow(tables).map_batches(
                _Worker,
                fn_constructor_args=(self._place, self._prepare, function),
                compute=ActorPoolStrategy(size=self._number),
                batch_size=size,
                batch_format="pyarrow",
                max_task_retries=LIVES - 1,
                **self._needs,
            )

    def _in_order(self, answers: Any) -> Iterator[Any]:  # noqa: ANN401
        next_one = 0
        with _told():
            for table in answers.iter_batches(batch_size=None, batch_format="pyarrow"):
                for position, answer in zip(table["position"].to_pylist(), table["answer"].to_pylist(), strict=True):
                    if position != next_one:  # a result of another frame under this one's name would never be noticed
                        raise RuntimeError(f"Ray gave the result {position} where {next_one} was to come")
                    next_one += 1
                    yield _open_answer(answer)

    def _size_up(self) -> None:
        there = self._ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if self._model and self._runtime.device != "cpu" else 0
        at_hand = gpus or int(there.get("CPU", 1))
        asked = self._runtime.workers if self._runtime.chosen or not _ray_cluster.given_address() else at_hand
        self._number = max(1, min(asked, gpus or asked, self._items))
        self._needs = {"num_cpus": 1, "num_gpus": 1} if gpus else {"num_cpus": 1}


@contextmanager
def _told() -> Iterator[None]:
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as error:  # not by what we gave it to do, of which each exception is an answer
        reason = str(error).strip().splitlines()[-1][:300]
        raise WildsegError(f"a worker of the Ray cluster cannot work: {reason}") from error
    except RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise WildsegError(
            f"a worker of the Ray cluster was lost {LIVES} times at the same frames, most likely because memory ran "
            f"out ({reason}); set WILDSEG_WORKERS to fewer, or extract.max_side to smaller frames"
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Ray will rename in versions to come
        yield


# In a worker -----------------------------------------------------------------------------------------------------

_tools: dict[str, Any] = {}


class _Worker:
    """What Ray keeps alive: the tools, prepared once, and one table of items after the other."""

    def __init__(self, place: Place, prepare: Callable[[int], Any], function: Callable[[Any, Any], Any]) -> None:
        # Only remembers: an exception here would reach the run as a death without a reason.
        self._place, self._prepare, self._function = place, prepare, function

    def __call__(self, table: Any) -> Any:  # noqa: ANN401
        """Return position and answer of the rows, up to the first that failed: the run ends there."""
        import pyarrow

        answers: list[bytes] = []
        for item in table["item"].to_pylist():
            ok, answer = _answer(self._place, self._prepare, self._function, item)
            answers.append(answer)
            if not ok:
                break
        return pyarrow.table({"position": table["position"][: len(answers)], "answer": answers})


def _answer(
    place: Place, prepare: Callable[[int], Any], function: Callable[[Any, Any], Any], item: bytes
) -> tuple[bool, bytes]:
    # An exception is an answer too: Ray would wrap it into its own.
    try:
        return True, pickle.dumps((True, function(pickle.loads(item), _prepared(place, prepare))))
    except Exception as error:
        return False, _failure(error)


def _try_tools(place: Place, prepare: Callable[[int], Any]) -> bytes:
    try:
        _prepared(place, prepare)
        return pickle.dumps((True, None))
    except Exception as error:
        return _failure(error)


def _prepared(place: Place, prepare: Callable[[int], Any]) -> Any:  # noqa: ANN401
    # Kept by the process, which Ray may use first to try the tools and then as a worker.
    if place.mark.name not in _tools:
        place.enter()
        _tools.clear()
        _tools[place.mark.name] = prepare(0)
    return _tools[place.mark.name]


def _failure(error: Exception) -> bytes:
    if not isinstance(error, WildsegError):
        error.add_note(f"in a worker of Ray:\n{''.join(traceback.format_exception(error))}")
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)
    except Exception:  # its class takes other arguments than it keeps
        answer = pickle.dumps((False, RuntimeError("".join(traceback.format_exception(error)))))
    return answer


def _open_answer(answer: bytes) -> Any:  # noqa: ANN401
    ok, value = pickle.loads(answer)
    if not ok:
        raise value
    return value
