"""The training loop: AdamW, warm-up and cosine, mixed precision, the best weights on validation frames.

Everything random in step k is seeded by (seed, k), so a `Trainer` that is restored from its state goes on exactly as
one that was never stopped.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from wildseg.core.errors import WildsegError
from wildseg.segment.data import derive
from wildseg.segment.losses import cross_entropy, forbid
from wildseg.segment.predict import autocast
from wildseg.training.team import ALONE, Team

POINTS = 200  # of the curve: enough to see everything, few enough to read and to send
WARM_UP = 0.05  # share of the steps
Batch = tuple[torch.Tensor, torch.Tensor]  # images (B, 3, H, W) float32 normalised, masks (B, H, W) int64, 255 ignore


@dataclass(frozen=True)
class Recipe:
    """How to train; `ids` are the channels that may be answered, `precision` is fp32, bf16 or fp16."""

    steps: int
    lr: float
    weight_decay: float
    precision: str
    validate_every: int
    ids: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Event:
    """What one step did; `step` counts from 1, `lr` is the learning rate it used.

    `loss` is the mean since it was last reported, None between reports; `val_miou` is None unless just measured.
    """

    step: int
    lr: float
    loss: float | None = None
    val_miou: float | None = None


@dataclass(frozen=True)
class Best:
    """The best weights so far, by validation mIoU."""

    miou: float
    step: int
    state: dict[str, torch.Tensor]


class Trainer:
    """A network on its way: weights, optimiser, step, history and the best weights so far."""

    def __init__(
        self,
        network: torch.nn.Module,
        recipe: Recipe,
        weights: torch.Tensor | None = None,
        device: str = "cpu",
        team: Team = ALONE,
    ) -> None:
        """Take a network to `device`.

        Args:
            network: from images (B, 3, H, W) to logits (B, C + 1, H, W).
            recipe: how to train.
            weights: (C + 1,) factor of each id in the loss, or None.
            device: where to compute.
            team: the processes that train this network, each with its share of the batches; all hold the same weights.
        """
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.device = device
        self.team = team
        self.step = 0
        self.history: list[Event] = []
        self.best: Best | None = None
        self._weights = None if weights is None else weights.to(device, torch.float32)
        self._ids = torch.tensor(recipe.ids, device=device)
        self._optimiser = _optimiser(self.network, recipe)
        self._scaler = torch.amp.GradScaler(torch.device(device).type, enabled=recipe.precision == "fp16")
        self._loss_sum = torch.zeros((), device=device)
        self._loss_count = 0

    def run(
        self, batches: Callable[[int, int], Iterable[Batch]], validate: Callable[[], float] | None = None
    ) -> Iterator[Event]:
        """Train to the last step, yielding one event a step.

        Args:
            batches: gives the batches of the steps `start` to `stop`, counted from 0.
            validate: returns the mIoU of the network as it is now; None where there is nothing to validate on.

        Raises:
            WildsegError: the loss is no longer a number, a batch of one is too small, GPU memory is full.
        """
        with _deterministic():
            for images, masks in batches(self.step, self.recipe.steps):
                lr = learning_rate(self.step, self.recipe.steps, self.recipe.lr)
                self._loss_sum += self._optimise(images, masks, lr)
                self._loss_count += 1
                self.step += 1
                yield self._report(lr, validate)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the best weights on validation frames; the present ones where there was no validation."""
        return self.best.state if self.best else _copy(self.network)

    def _optimise(self, images: torch.Tensor, masks: torch.Tensor, lr: float) -> torch.Tensor:
        # Dropout: others draw otherwise, as they draw for other images.
        _seed(derive(self.recipe.seed, f"step {self.team.rank}" if self.team.rank else "step", self.step), self.device)
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self.network.train()
        with _one_line():
            images = images.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            with autocast(self.device, self.recipe.precision), self.team.one_batch():
                logits = self.network(images)
            logits = forbid(logits.float(), self._ids)
            masks = masks.to(self.device, non_blocking=True)
            loss = cross_entropy(logits, masks, self._weights, self.team.sum)
            self._optimiser.zero_grad(set_to_none=True)
            self._scaler.scale(loss).backward()
            self.team.sum_gradients(self._parameters())
            self._scaler.step(self._optimiser)
            self._scaler.update()
        return self.team.sum(loss.detach())

    def _report(self, lr: float, validate: Callable[[], float] | None) -> Event:
        recipe, last = self.recipe, self.step == self.recipe.steps
        validating = validate is not None and (last or self.step % recipe.validate_every == 0)
        if not (validating or last or self.step % max(1, recipe.steps // POINTS) == 0):
            return Event(self.step, lr)
        loss = float(self._loss_sum) / self._loss_count
        if not math.isfinite(loss):
            raise WildsegError(f"train: the loss is {loss} at step {self.step}; lower train.lr, or use precision fp32")
        self._loss_sum.zero_()
        self._loss_count = 0
        event = Event(self.step, lr, loss, validate() if validating and validate else None)
        self._keep_best(event.val_miou)
        self.history.append(event)
        return event

    def _keep_best(self, miou: float | None) -> None:
        # Of equals the later one: it has seen more.
        if miou is not None and (self.best is None or miou >= self.best.miou):
            self.best = Best(miou, self.step, _copy(self.network))

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return all that `restore` needs: tensors by name, and plain values that JSON can hold."""
        tensors = {f"network/{name}": value for name, value in _copy(self.network).items()}
        tensors |= {f"best/{name}": value for name, value in (self.best.state if self.best else {}).items()}
        for index, parameter in enumerate(self._parameters()):
            for slot, value in self._optimiser.state[parameter].items():
                tensors[f"optimiser/{index}/{slot}"] = value.detach().cpu().contiguous()
        tensors["loss_sum"] = self._loss_sum.detach().cpu()
        return tensors, {
            "step": self.step,
            "loss_count": self._loss_count,
            "best": [self.best.miou, self.best.step] if self.best else None,
            "history": [asdict(event) for event in self.history],
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Go back to a `state` of a trainer of the same network and recipe.

        Raises:
            Exception: of many kinds, where it is none; some of it may have been taken over by then.
        """
        self.network.load_state_dict(_below(tensors, "network/"))
        for index, parameter in enumerate(self._parameters()):
            saved = _below(tensors, f"optimiser/{index}/")
            # AdamW counts its steps on the CPU, wherever the network is.
            self._optimiser.state[parameter] = {
                slot: value.clone() if slot == "step" else _like(parameter, value) for slot, value in saved.items()
            }
        self._loss_sum.copy_(tensors["loss_sum"])
        self._loss_count = values["loss_count"]
        self._scaler.load_state_dict(values["scaler"])
        self.step = values["step"]
        self.history = [Event(**event) for event in values["history"]]
        best = values["best"]
        self.best = Best(best[0], best[1], _like_all(self.network, _below(tensors, "best/"))) if best else None

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self._optimiser.param_groups for parameter in group["params"]]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate of a step from 0: linear up to `peak` over the first 5 %, then half a cosine down towards 0."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def _optimiser(network: torch.nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    # Only weights that multiply are pulled towards 0; biases and the factors of normalisations are not.
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.lr)


def _seed(seed: int, device: str) -> None:
    # Not torch.manual_seed: without a GPU it queues one more call, with its traceback, at every step.
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.manual_seed_all(seed)


def _copy(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _like_all(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state, after a look whether the network has one of these names and shapes."""
    own = network.state_dict()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in state.items()}:
        raise ValueError("its best weights are not those of this network")
    return state


def _like(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    # In the parameter's own memory format: another one is rounded differently in the last bit.
    if value.shape != parameter.shape:
        raise ValueError(f"expected {tuple(parameter.shape)} numbers of the optimiser, found {tuple(value.shape)}")
    return torch.zeros_like(parameter).copy_(value)


@contextmanager
def _deterministic() -> Iterator[None]:
    # A few GPU kernels have no deterministic form; they warn, and such a run repeats only up to rounding.
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filling = memory.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # it costs 7 % of the time to find bugs we do not have
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filling


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise WildsegError("train: the GPU's memory is full; lower train.batch_size or train.crop") from error
    except ValueError as error:
        # Normalising one value per channel: image pooling, or a crop that shrinks to a single cell.
        if "more than 1 value per channel" not in str(error):
            raise
        raise WildsegError(
            "train.batch_size: expected at least 2, because this network normalises one value per image; found 1"
        ) from error
