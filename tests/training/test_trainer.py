"""The training core with objectives of a few weights: several networks and groups, schedules, norms, terms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from wildseg.training.checkpoint import Checkpoints
from wildseg.training.context import TrainContext
from wildseg.training.objective import Batch, Objective, ParamGroup, freeze_norms
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer

STEPS = 12


class TwoNetworks(Objective):
    """A map of noise to noise through two networks, the first learning ten times as slowly; dropout in between."""

    def __init__(self, metrics: Callable[[], dict[str, float]] = dict) -> None:
        torch.manual_seed(0)
        first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3))
        self.networks = {"first": first, "second": nn.Conv2d(4, 2, 1)}
        self.metrics = metrics

    def param_groups(self) -> list[ParamGroup]:
        return [
            ParamGroup(list(self.networks["first"].parameters()), lr_scale=0.1, weight_decay=0.0),
            ParamGroup(list(self.networks["second"].parameters())),
        ]

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = self.networks["second"](self.networks["first"](batch["image"]))
        return {"fit": (found - batch["wanted"]).square().mean(), "size": 0.1 * found.abs().mean()}

    def validate(self) -> dict[str, float]:
        return self.metrics()


class FrozenNorms(TwoNetworks):
    def train_mode(self) -> None:
        super().train_mode()
        for network in self.networks.values():
            freeze_norms(network)


def batches(start: int, stop: int) -> Iterator[dict[str, Any]]:
    for step in range(start, stop):
        random = torch.Generator().manual_seed(step)
        wanted = torch.randn(2, 2, 6, 6, generator=random)
        yield {"image": torch.randn(2, 3, 6, 6, generator=random), "wanted": wanted, "name": "no tensor"}


def optim(**changes: Any) -> OptimConfig:  # noqa: ANN401
    return OptimConfig(**{"steps": STEPS, "lr": 0.05, "weight_decay": 0.01, **changes})


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {f"{name}.{key}": value for name in ("first", "second") for key, value in trainer.weights(name).items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


SGD = {"optimizer": "sgd", "schedule": "poly", "momentum": 0.8, "clip": 0.3, "warmup": 0.0}
NESTEROV = {**SGD, "nesterov": True}
ADAMW = {"optimizer": "adamw", "schedule": "cosine", "warmup": 0.0}


@pytest.mark.parametrize("settings", [SGD, NESTEROV, ADAMW], ids=["sgd poly clipped", "nesterov", "adamw cosine"])
def test_it_takes_the_steps_of_torchs_own_optimiser_and_scheduler(settings: dict[str, Any]) -> None:
    ours = Trainer(FrozenNorms(), optim(**settings))
    ours.objective.networks["first"][2].p = 0.0
    events = list(ours.run(batches))

    reference = FrozenNorms()
    reference.networks["first"][2].p = 0.0
    groups = [
        {"params": list(reference.networks["first"].parameters()), "lr": 0.005, "weight_decay": 0.0},
        {"params": list(reference.networks["second"].parameters()), "lr": 0.05, "weight_decay": 0.01},
    ]
    if settings is not ADAMW:
        optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, momentum=0.8, nesterov=settings is NESTEROV)
        schedule: Any = torch.optim.lr_scheduler.PolynomialLR(optimizer, STEPS, power=0.9)
    else:
        optimizer = torch.optim.AdamW(groups)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    everything = [parameter for network in reference.networks.values() for parameter in network.parameters()]
    for batch, event in zip(batches(0, STEPS), events, strict=True):
        reference.train_mode()
        optimizer.zero_grad()
        sum(reference.loss(batch).values()).backward()
        if settings is not ADAMW:
            nn.utils.clip_grad_norm_(everything, 0.3)
        assert event.lr == pytest.approx(optimizer.param_groups[1]["lr"])
        optimizer.step()
        schedule.step()
    for name, network in reference.networks.items():
        for key, value in network.state_dict().items():
            torch.testing.assert_close(ours.weights(name)[key], value, msg=f"{name}.{key}")


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_after_a_linear_warm_up_the_schedule_runs_over_the_remaining_steps(schedule: str) -> None:
    config = OptimConfig(40, 0.2, schedule=schedule, warmup=0.25)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.2)
    after: Any = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
        if schedule == "cosine"
        else torch.optim.lr_scheduler.PolynomialLR(optimizer, 30, power=0.9)
    )
    expected = [0.2 * (step + 1) / 10 for step in range(10)]
    for _ in range(30):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        after.step()
    assert [config.learning_rate(step) for step in range(40)] == pytest.approx(expected)


def test_a_schedule_of_ones_own_gives_the_rate_of_each_step() -> None:
    events = list(Trainer(TwoNetworks(), optim(schedule=lambda step: 0.001 * step)).run(batches))
    assert [event.lr for event in events] == [0.001 * step for step in range(STEPS)]


def test_frozen_norms_keep_their_statistics_and_others_do_not() -> None:
    frozen, free = Trainer(FrozenNorms(), optim()), Trainer(TwoNetworks(), optim())
    before = {name: value.clone() for name, value in frozen.weights("first").items() if "running" in name}
    for trainer in (frozen, free):
        list(trainer.run(batches))
    assert all(torch.equal(value, frozen.weights("first")[name]) for name, value in before.items())
    assert all(not torch.equal(value, free.weights("first")[name]) for name, value in before.items())
    assert frozen.objective.networks["first"][2].training  # dropout is no normalisation


def test_each_term_is_a_curve_of_means_since_the_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    every = list(Trainer(TwoNetworks(), optim()).run(batches))
    monkeypatch.setattr("wildseg.training.trainer.POINTS", 3)
    some = [event for event in Trainer(TwoNetworks(), optim()).run(batches) if event.loss is not None]
    assert [event.step for event in some] == [4, 8, 12]
    for event in some:
        steps = every[event.step - 4 : event.step]
        for name in ("fit", "size"):
            assert event.terms[name] == pytest.approx(sum(step.terms[name] for step in steps) / 4)
        assert event.curves == {"loss": event.loss, "lr": event.lr, **event.terms}
        assert event.loss == pytest.approx(sum(event.terms.values()))


def test_the_first_metric_picks_the_best_weights_of_all_networks() -> None:
    values = iter([(0.2, 9.0), (0.7, 1.0), (0.5, 3.0)])
    seen: list[dict[str, torch.Tensor]] = []

    def metrics() -> dict[str, float]:
        states = {f"{name}.{key}": value.clone() for name, network in objective.networks.items()
                  for key, value in network.state_dict().items()}  # fmt: skip
        seen.append(states)
        return dict(zip(("score", "other"), next(values), strict=True))

    objective = TwoNetworks(metrics)
    trainer = Trainer(objective, optim(), TrainContext(validate_every=5))
    measured = [event.metrics for event in trainer.run(batches) if event.metrics]
    assert measured == [{"score": 0.2, "other": 9.0}, {"score": 0.7, "other": 1.0}, {"score": 0.5, "other": 3.0}]
    assert trainer.result().best == (0.7, 10)
    assert equal(weights(trainer), seen[1])


def test_an_objective_that_measures_nothing_keeps_its_last_weights() -> None:
    trainer = Trainer(TwoNetworks(), optim(), TrainContext(validate_every=5))
    list(trainer.run(batches))
    assert trainer.best is None
    last = {f"{name}.{key}": value for name, network in trainer.objective.networks.items()
            for key, value in network.state_dict().items()}  # fmt: skip
    assert equal(weights(trainer), last)


@pytest.mark.parametrize("settings", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("stopped_at", [1, 7, 12])
def test_two_networks_that_were_stopped_go_on_from_disk_to_the_same_bytes(
    settings: dict[str, Any], stopped_at: int, tmp_path: Path
) -> None:
    def begun() -> Trainer:
        trainer = Trainer(TwoNetworks(lambda: {"score": -abs(trainer.step - 6)}), optim(**settings), context)
        return trainer

    context = TrainContext(seed=3, validate_every=4)
    whole, stopped, restored = begun(), begun(), begun()
    list(whole.run(batches))
    list(itertools.islice(stopped.run(batches), stopped_at))
    Checkpoints(tmp_path, "key").save(stopped)
    for network in restored.objective.networks.values():
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
    assert Checkpoints(tmp_path, "key").restore(restored)
    list(restored.run(batches))
    assert equal(restored.state()[0], whole.state()[0])
    assert restored.state()[1] == whole.state()[1]
    assert equal(weights(restored), weights(whole))


def test_parts_of_a_batch_add_up_to_the_batch_of_their_sums() -> None:
    class Halved(FrozenNorms):
        def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
            return {name: term / 2 for name, term in super().loss(batch).items()}

    def halves(start: int, stop: int) -> Iterator[list[dict[str, Any]]]:
        for batch in batches(start, stop):
            yield [{name: value[k : k + 1] for name, value in batch.items()} for k in range(2)]

    whole, parts = Trainer(FrozenNorms(), optim()), Trainer(Halved(), optim(), TrainContext(threads=2))
    for trainer in (whole, parts):
        trainer.objective.networks["first"][2].p = 0.0
    losses = [[event.loss for event in trainer.run(given)] for trainer, given in ((whole, batches), (parts, halves))]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
