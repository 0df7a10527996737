"""What a training reports: one event a step, the curve of the reported ones, and the result at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeGuard


@dataclass(frozen=True)
class Event:
    """One step; `step` counts from 1, `lr` is its learning rate.

    `loss` is the mean since the last report, and `terms` are the means of its terms by name; None and {} between
    reports. `metrics` are those of a validation at this step, else {}.
    """

    step: int
    lr: float
    loss: float | None = None
    terms: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def curves(self) -> dict[str, float]:
        """What is plotted of a reported event by name: loss and rate, the terms if there are several, the metrics."""
        if self.loss is None:
            return {}
        terms = self.terms if len(self.terms) > 1 else {}
        return {"loss": self.loss, "lr": self.lr, **terms, **self.metrics}


@dataclass(frozen=True)
class TrainingResult:
    """What is known of a finished training beside its weights.

    Attributes:
        steps: that were taken.
        best: the highest first metric of a validation and its step; None where nothing was validated.
        parameters: number of trained and frozen weights of all networks.
        history: the reported events, of which the last is that of the last step.
    """

    steps: int
    best: tuple[float, int] | None
    parameters: int
    history: Sequence[Event]

    def record(self) -> dict[str, Any]:
        """Return it as plain values that JSON can hold."""
        return {
            "steps": self.steps,
            "best": list(self.best) if self.best else None,
            "parameters": self.parameters,
            "history": [asdict(event) for event in self.history],
        }

    @classmethod
    def of_record(cls, record: Any) -> TrainingResult:  # noqa: ANN401
        """Return what `record` described.

        Raises:
            ValueError: it does not describe a finished training.
        """
        values = record if isinstance(record, dict) else {}
        steps, best, parameters = (values.get(name) for name in ("steps", "best", "parameters"))
        if not (_is_count(steps, math.inf) and _is_count(parameters, math.inf) and is_best(best, steps)):
            raise ValueError("expected the steps, the best value and the parameters of a training")
        history = events_of(values.get("history"), steps)
        if not history or history[-1].step != steps:
            raise ValueError("its history does not reach the last step")
        return cls(steps, (float(best[0]), best[1]) if best else None, parameters, history)


def events_of(history: object, last: int) -> list[Event]:
    """Return reported events of plain values.

    Raises:
        ValueError: one is not an event of a step up to `last`.
    """
    if not isinstance(history, list) or not all(_is_event(event, last) for event in history):
        raise ValueError("its history contains an entry that is not an event of a training")
    return [Event(**event) for event in history]


def is_best(best: object, last: int) -> bool:
    """Return whether a plain value is the best metric and its step, up to `last`, or None."""
    return best is None or (
        isinstance(best, list) and len(best) == 2 and _is_metric(best[0]) and _is_count(best[1], last)
    )


def is_step(value: object, last: float) -> TypeGuard[int]:
    """Return whether a plain value is a step up to `last`."""
    return _is_count(value, last)


def _is_event(event: object, last: int) -> bool:
    if not isinstance(event, dict) or set(event) != {part.name for part in fields(Event)}:
        return False
    return (
        all(_is_finite(event[name]) for name in ("lr", "loss"))
        and _is_count(event["step"], last)
        and _are_named(event["terms"])
        and _are_named(event["metrics"])
    )


def _are_named(values: object) -> bool:
    return isinstance(values, Mapping) and all(isinstance(name, str) and _is_metric(values[name]) for name in values)


def _is_metric(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isinf(value)  # NaN: none


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object, most: float) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
