"""The training loop of every network: an objective, an optimiser, mixed precision, the best weights on validation.

Everything random in step k is seeded by (seed, k), so a `Trainer` that is restored from its state goes on exactly as
one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any

import torch

from wildseg.core.errors import WildsegError
from wildseg.training.context import TrainContext
from wildseg.training.deterministic import deterministic
from wildseg.training.events import Event, TrainingResult, events_of
from wildseg.training.objective import Batch, Objective
from wildseg.training.optim import OptimConfig, set_learning_rate
from wildseg.training.seeds import derive, set_seed
from wildseg.training.state import (
    Tensors,
    below,
    checked,
    copy_of,
    optimizer_tensors,
    parameters_of,
    prefixed,
    restore_optimizer,
)

POINTS = 200  # of the curve: enough to see everything, few enough to read and to send
Batches = Callable[[int, int], Iterable[Batch | Sequence[Batch]]]


@dataclass(frozen=True)
class Best:
    """The best weights so far: the first metric of their validation, their step, and their states by network."""

    value: float
    step: int
    states: dict[str, Tensors]


class Trainer:
    """A training in progress: networks, optimiser, step, history and the best weights so far."""

    def __init__(self, objective: Objective, optim: OptimConfig, context: TrainContext | None = None) -> None:
        """Move the networks of the objective to the context's device and build their optimiser."""
        self.objective = objective
        self.optim = optim
        self.context = context or TrainContext()
        self.step = 0
        self.history: list[Event] = []
        self.best: Best | None = None
        for network in objective.networks.values():
            network.to(self.context.device)
        self._optimizer = optim.build(objective.param_groups())
        device = torch.device(self.context.device).type
        self._scaler = torch.amp.GradScaler(device, enabled=self.context.precision == "fp16")
        self._sums: Tensors = {}
        self._count = 0

    def run(self, batches: Batches) -> Iterator[Event]:
        """Train to the last step, yielding one event a step.

        Args:
            batches: gives the batches of the steps `start` to `stop`, counted from 0. A step may also get a sequence of
                batches, whose losses add up and whose gradients are accumulated, by the threads of the context.

        Raises:
            WildsegError: the loss is not finite, a batch of one is too small, GPU memory is full.
        """
        with deterministic(), ThreadPoolExecutor(self.context.threads) as threads:
            for batch in batches(self.step, self.optim.steps):
                lr = self.optim.learning_rate(self.step)
                with _one_line(self.context.section):
                    terms = self._take_step(batch, lr, threads)
                for name, term in terms.items():
                    self._sums[name] = self._sums[name] + term if name in self._sums else term.float()
                self._count += 1
                self.step += 1
                yield self._report(lr)

    def weights(self, network: str) -> Tensors:
        """Return the best weights of a network on validation; the present ones where nothing was validated."""
        return self.best.states[network] if self.best else copy_of(self.objective.networks[network])

    def result(self) -> TrainingResult:
        """Return what is known of the training now, beside its weights."""
        networks = [list(network.parameters()) for network in self.objective.networks.values()]
        # A network of which nothing is trained is the average of another.
        trained = [parameters for parameters in networks if any(one.requires_grad for one in parameters)]
        number = sum(parameter.numel() for parameters in trained for parameter in parameters)
        best = (self.best.value, self.best.step) if self.best else None
        return TrainingResult(self.step, best, number, self.history)

    def _take_step(self, batch: Batch | Sequence[Batch], lr: float, threads: ThreadPoolExecutor) -> Tensors:
        """Update the weights on one batch; return the terms of its loss, summed over all processes."""
        distributed, rank = self.context.distributed, self.context.distributed.rank
        # Dropout draws otherwise in other processes, as it draws for other images.
        purpose = f"step {rank}" if rank else "step"
        set_seed(derive(self.context.seed, purpose, self.step), self.context.device)
        set_learning_rate(self._optimizer, lr)
        self.objective.train_mode()
        self._optimizer.zero_grad(set_to_none=True)
        if isinstance(batch, Sequence):
            parts = list(threads.map(self._backward, batch))
            terms = {name: reduce(add, [part[name] for part in parts]) for name in parts[0]}
        else:
            terms = self._backward(batch)
        distributed.sum_gradients(parameters_of(self._optimizer))
        self._clip()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.objective.after_step(self.step + 1)
        return distributed.sum_terms(terms)

    def _backward(self, batch: Batch) -> Tensors:
        """Add the gradients of one batch; return the terms of its loss."""
        on_device = {
            name: value.to(self.context.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }
        with self.context.distributed.sync_batch_norm():
            terms = self.objective.loss(on_device)
        self._scaler.scale(reduce(add, terms.values())).backward()
        return {name: term.detach() for name, term in terms.items()}

    def _clip(self) -> None:
        if self.optim.clip is not None:
            self._scaler.unscale_(self._optimizer)
            networks = self.objective.networks.values()
            parameters = [parameter for network in networks for parameter in network.parameters()]
            torch.nn.utils.clip_grad_norm_(parameters, self.optim.clip)

    def _report(self, lr: float) -> Event:
        last, every = self.step == self.optim.steps, self.context.validate_every
        validating = every is not None and (last or self.step % every == 0)
        if not (validating or last or self.step % max(1, self.optim.steps // POINTS) == 0):
            return Event(self.step, lr)
        terms = {name: float(total) / self._count for name, total in self._sums.items()}
        if not math.isfinite(loss := sum(terms.values())):
            section, option = self.context.section, self.optim.lr_option
            raise WildsegError(
                f"{section}: the loss is {loss} at step {self.step}; lower {section}.{option}, or use precision fp32"
            )
        self._sums, self._count = {}, 0
        event = Event(self.step, lr, loss, terms, self.objective.validate() if validating else {})
        self._update_best(event)
        self.history.append(event)
        return event

    def _update_best(self, event: Event) -> None:
        # Of equal weights the later ones: they have been trained for longer.
        value = next(iter(event.metrics.values()), None)
        if value is not None and (self.best is None or value >= self.best.value):
            networks = self.objective.networks.items()
            self.best = Best(value, self.step, {name: copy_of(network) for name, network in networks})

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Return all that `restore` needs: tensors by name, and plain values that JSON can hold."""
        tensors = prefixed("optimizer", optimizer_tensors(self._optimizer))
        for name, network in self.objective.networks.items():
            tensors |= prefixed(f"network/{name}", copy_of(network))
            tensors |= prefixed(f"best/{name}", self.best.states[name] if self.best else {})
        tensors |= prefixed("sum", {name: total.cpu() for name, total in self._sums.items()})
        return tensors, {
            "step": self.step,
            "loss_count": self._count,
            "best": [self.best.value, self.best.step] if self.best else None,
            "history": [asdict(event) for event in self.history],
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Return to a `state` of a trainer of the same objective and configuration.

        Raises:
            Exception: of many kinds, where it is none; a part of it may have been restored by then.
        """
        networks = self.objective.networks
        for name, network in networks.items():
            network.load_state_dict(below(f"network/{name}", tensors))
        restore_optimizer(self._optimizer, below("optimizer", tensors))
        sums = below("sum", tensors)
        self._sums = {name: total.to(self.context.device).reshape(()) for name, total in sums.items()}
        self._count = values["loss_count"]
        self._scaler.load_state_dict(values["scaler"])
        self.step = values["step"]
        self.history = events_of(values["history"], self.step)
        best = values["best"]
        states = {name: below(f"best/{name}", tensors) for name in networks} if best else {}
        states = {name: checked(networks[name], found) for name, found in states.items()}
        self.best = Best(best[0], best[1], states) if best else None


@contextmanager
def _one_line(section: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise WildsegError(
            f"{section}: the GPU's memory is full; lower {section}.batch_size or {section}.crop"
        ) from error
    except ValueError as error:
        # Normalising one value per channel: image pooling, or a crop that shrinks to a single cell.
        if "more than 1 value per channel" not in str(error):
            raise
        raise WildsegError(
            f"{section}.batch_size: expected at least 2, because this network normalises one value per image; found 1"
        ) from error
