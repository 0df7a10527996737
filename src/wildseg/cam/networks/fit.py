"""The training of a map network: the objectives that come first, then the method's own, as one sequence of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from wildseg.cam.networks.data import LabelledImages, MapBatches
from wildseg.cam.networks.engine import network_maps
from wildseg.cam.networks.objective import MapObjective, TrainingFrames
from wildseg.cam.params import Cam
from wildseg.training.context import TrainContext
from wildseg.training.events import Event
from wildseg.training.loader import stream
from wildseg.training.trainer import Trainer


def phases(objective: MapObjective) -> list[MapObjective]:
    """Return the objectives in the order in which they are trained; the last is `objective`."""
    before = phases(objective.first) if objective.first else []
    return [*before, objective]


def steps(objective: MapObjective) -> int:
    """Return the optimiser steps of all phases."""
    return sum(phase.optim.steps for phase in phases(objective))


@dataclass(frozen=True)
class Progress:
    """One step of a training in phases.

    Attributes:
        phase: its number, from 0.
        step: of all phases together, from 1.
        trainer: of the phase, after the step.
        event: of the trainer, whose steps are those of the phase.
    """

    phase: int
    step: int
    trainer: Trainer
    event: Event


def train(
    objective: MapObjective,
    images: LabelledImages,
    context: TrainContext,
    cam: Cam,
    restore: Callable[[int, Trainer], bool] = lambda _phase, _trainer: False,
    workers: int = 0,
) -> Iterator[Progress]:
    """Train all phases, one after the other, yielding one event a step; `objective` holds the result at the end.

    Args:
        objective: the method's own; those before it are reached by `first`.
        images: what is trained on.
        context: seed, device and precision; nothing is validated, there being no truth to do it with.
        cam: scales and flips of maps that one phase computes for the next.
        restore: called with the number of a phase and its trainer at step 0; brings it to a checkpoint, which may be
            that of its last step, and returns whether there was one.
        workers: processes that prepare batches.

    Raises:
        WildsegError: the loss is not finite, memory is full.
    """
    order = phases(objective)
    done = 0
    for number, phase in enumerate(order):
        trainer = Trainer(phase, phase.optim, context)
        if not restore(number, trainer) and number:
            phase.follow(order[number - 1], _training_frames(images, context, cam))
        yield from _phase(number, done, phase, trainer, images, context, workers)
        done += phase.optim.steps
        for network in phase.networks.values():
            network.eval()


def _phase(
    number: int,
    done: int,
    phase: MapObjective,
    trainer: Trainer,
    images: LabelledImages,
    context: TrainContext,
    workers: int,
) -> Iterator[Progress]:
    batches = MapBatches(images, phase.crops, phase.norm, context.seed)
    for event in trainer.run(partial(stream, batches, workers=workers)):
        yield Progress(number, done + event.step, trainer, event)


def _training_frames(images: LabelledImages, context: TrainContext, cam: Cam) -> TrainingFrames:
    def maps(objective: MapObjective, image: np.ndarray, classes: Sequence[int]) -> np.ndarray:
        return network_maps(objective, image, classes, cam, context.device)

    return TrainingFrames(images.labels, lambda: (images.image(index) for index in range(len(images))), maps)
