"""The curves of all rounds of a training as one: steps go on from round to round, on disk and in the tracker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from wildseg.artifacts.project import Artifacts
from wildseg.tracking import mlflow_run
from wildseg.training.events import Event, TrainingResult

if TYPE_CHECKING:
    from wildseg.execution.params import Params

OF_ROUND = "round_val_miou"  # at the last step of a round, the mIoU of the weights that it left
Point = tuple[int, Mapping[str, float]]


class RoundCurves:
    """Curves of the rounds that are `done`, and of the present one; the tracker is opened when there is news for it."""

    def __init__(self, artifacts: Artifacts, params: Params) -> None:
        """Start without a round; nothing is opened."""
        self.done: list[TrainingResult] = []
        self._artifacts = artifacts
        self._params = params
        self._opened = ExitStack()
        self._tracker: mlflow_run.Curve | None = None
        self._sent = 0  # the last step of which the tracker has the points

    def __enter__(self) -> RoundCurves:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the tracker, and report how the training ended."""
        self._opened.__exit__(kind, error, trace)

    def send(self, restored: int, history: Sequence[Event] = (), best: float | None = None) -> None:
        """Open the tracker if it is not, and send all points that it was not sent.

        Args:
            restored: steps of the present round that a checkpoint gave: above 0 a killed run goes on.
            history: the reported events of the present round.
            best: its highest mIoU so far.
        """
        if self._tracker is None:
            training = mlflow_run.training(self._artifacts, self._params, restored)
            self._tracker = self._opened.enter_context(training)
        for step, curves in self.points(history, best):
            if step > self._sent:
                self._tracker.log(step, **curves)
                self._sent = step

    def log(self, history: Sequence[Event], best: float | None) -> None:
        """Send and save the reported events of the present round, of which the last is new."""
        self.send(0, history, best)
        self._artifacts.save_curve(list(self.points(history, best)))

    def points(self, history: Sequence[Event] = (), best: float | None = None) -> Iterator[Point]:
        """Yield (step, values by curve) of the rounds that are done, and of the present one."""
        before, steps = 0, self._params.train.steps
        finished = [(result.history, result.best[0] if result.best else None) for result in self.done]
        for events, value in [*finished, (history, best)]:
            for event in events:
                of_round = {}
                if self._params.train.rounds > 1 and event.step == steps and value is not None:
                    of_round[OF_ROUND] = value
                yield before + event.step, {**event.curves, **of_round}
            before += steps
