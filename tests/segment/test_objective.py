import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.segment.networks import batches, segmenter_trainer, tiny
from wildseg.core.errors import ParamsError, WildsegError
from wildseg.segment.objective import Criterion, FineTuning, SupervisesItself
from wildseg.segment.params import MeanTeacher
from wildseg.segment.teacher import Consistency
from wildseg.training.optim import OptimConfig
from wildseg.training.trainer import Trainer


def trainer(steps: int = 12, seed: int = 0, **changes: Any) -> Trainer:  # noqa: ANN401
    weights = torch.tensor([0.0, 1.0, 0.5, 2.0])
    return segmenter_trainer(tiny(seed=seed), weights=weights, steps=steps, seed=seed, **changes)


def learning_rate(step: int, steps: int, peak: float) -> float:
    return OptimConfig(steps, peak).learning_rate(step)


def network(run: Trainer) -> torch.nn.Module:
    return run.objective.networks["segmenter"]


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_learning_rate_rises_to_its_peak_and_falls_along_a_cosine() -> None:
    rates = [learning_rate(step, 100, 0.1) for step in range(100)]
    assert rates[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert max(rates) == rates[5] == pytest.approx(0.1)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert learning_rate(52, 99, 0.1) == pytest.approx(0.05, abs=1e-6)  # half way between step 5 and 99
    assert 0 < rates[-1] < 1e-4
    assert learning_rate(0, 1, 0.1) == pytest.approx(0.1)


def test_it_learns() -> None:
    run = trainer(steps=80, lr=0.03)
    losses = [event.loss for event in run.run(batches)]
    assert losses[0] > 0.8
    assert losses[-1] < 0.2


def test_there_is_one_event_a_step() -> None:
    events = list(trainer().run(batches))
    assert [event.step for event in events] == list(range(1, 13))
    assert events[3].lr == learning_rate(3, 12, 0.01)


def test_a_long_run_reports_the_mean_loss_now_and_then() -> None:
    run = trainer(steps=400)
    events = list(run.run(lambda start, stop: itertools.repeat(next(batches(0, 1)), stop - start)))
    reported = [event for event in events if event.loss is not None]
    assert [event.step for event in reported] == list(range(2, 401, 2))
    assert run.history == reported


def test_two_runs_are_equal_to_the_bit_and_another_seed_is_not() -> None:
    runs = [trainer(seed=seed) for seed in (0, 0, 1)]
    for run in runs:
        torch.manual_seed(torch.seed())  # whatever was drawn before does not matter
        list(run.run(batches))
    assert equal(runs[0].weights("segmenter"), runs[1].weights("segmenter"))
    assert runs[0].history == runs[1].history
    assert not equal(runs[0].weights("segmenter"), runs[2].weights("segmenter"))


@pytest.mark.parametrize("stopped_at", [1, 4, 7, 12])
@pytest.mark.parametrize("reports", [1, 3])
def test_a_restored_run_ends_as_one_that_was_never_stopped(
    stopped_at: int, reports: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wildseg.training.trainer.POINTS", 12 // reports)
    mious = {5: 0.4, 10: 0.3, 12: 0.35}
    whole = trainer(miou=lambda: mious[whole.step])
    list(whole.run(batches))

    stopped = trainer(miou=lambda: mious[stopped.step])
    for event in stopped.run(batches):
        if event.step == stopped_at:
            break
    restored = trainer(seed=0, miou=lambda: mious[restored.step])
    network(restored).load_state_dict(tiny(seed=5).state_dict())
    restored.restore(*stopped.state())
    list(restored.run(batches))

    assert equal(restored.weights("segmenter"), whole.weights("segmenter"))
    assert equal(restored.state()[0], whole.state()[0])
    assert restored.history == whole.history
    assert restored.state()[1] == whole.state()[1]


def test_the_best_weights_on_validation_frames_are_kept() -> None:
    mious = {5: 0.2, 10: 0.6, 12: 0.5}
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def validate() -> float:
        seen[run.step] = {name: value.clone() for name, value in network(run).state_dict().items()}
        return mious[run.step]

    run = trainer(miou=validate)

    measured = {event.step: event.metrics["val_miou"] for event in run.run(batches) if event.metrics}
    assert measured == mious
    assert (run.best.value, run.best.step) == (0.6, 10)
    assert equal(run.weights("segmenter"), seen[10])


def test_of_equally_good_weights_the_later_ones_are_kept() -> None:
    run = trainer(miou=lambda: 0.5)
    list(run.run(batches))
    assert run.best.step == 12


def test_without_validation_the_last_weights_are_kept() -> None:
    run = trainer()
    list(run.run(batches))
    assert run.best is None
    assert equal(run.weights("segmenter"), dict(network(run).state_dict()))


def test_only_weights_that_multiply_decay() -> None:
    run = trainer(steps=1, weight_decay=0.5, lr=0.1)
    before = {name: value.clone() for name, value in network(run).named_parameters()}

    def nothing_to_learn(start: int, stop: int) -> Iterator[dict[str, torch.Tensor]]:
        for batch in batches(start, stop):
            yield {**batch, "mask": torch.full_like(batch["mask"], 255)}

    list(run.run(nothing_to_learn))
    for name, value in network(run).named_parameters():
        decayed = before[name] * (1 - 0.1 * 0.5) if value.ndim > 1 else before[name]
        torch.testing.assert_close(value, decayed)


def test_a_batch_without_labels_changes_no_number_to_nan() -> None:
    run = trainer(steps=2)
    events = list(
        run.run(lambda start, stop: ({**b, "mask": torch.full_like(b["mask"], 255)} for b in batches(start, stop)))
    )
    assert [event.loss for event in events] == [0, 0]
    assert all(torch.isfinite(value).all() for value in run.weights("segmenter").values())


def test_a_loss_that_is_no_number_stops_with_advice() -> None:
    run = trainer()
    network(run)[0].weight.data.fill_(float("nan"))
    with pytest.raises(WildsegError, match=r"the loss is nan at step 1; lower train\.lr, or"):
        list(run.run(batches))


def test_that_advice_names_the_option_of_the_phase() -> None:
    run = trainer()
    run.optim = replace(run.optim, lr_option="baseline_lr")
    network(run)[0].weight.data.fill_(float("nan"))
    with pytest.raises(WildsegError, match=r"lower train\.baseline_lr, or use precision fp32"):
        list(run.run(batches))


def test_a_batch_of_one_that_cannot_be_normalised_stops_with_advice() -> None:
    pooled = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 4, 1))
    run = segmenter_trainer(pooled)
    with pytest.raises(WildsegError, match=r"train.batch_size: expected at least 2"):
        list(
            run.run(
                lambda start, stop: (
                    {"image": b["image"][:1], "mask": b["mask"][:1, :1, :1]} for b in batches(start, stop)
                )
            )
        )


def test_an_id_that_is_not_allowed_is_never_learnt() -> None:
    run = trainer()
    bias = network(run)[4].bias[0].item()
    list(run.run(batches))
    assert network(run)[4].bias[0].item() == bias


def test_half_precision_trains_on_the_cpu_too() -> None:
    run = trainer(precision="bf16")
    assert list(run.run(batches))[-1].loss > 0
    assert all(
        value.dtype == torch.float32 for name, value in run.weights("segmenter").items() if "num_batches" not in name
    )


def test_training_gives_back_the_setting_for_deterministic_kernels() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    list(trainer(steps=2).run(batches))
    assert torch.are_deterministic_algorithms_enabled() == before


class Supervised(torch.nn.Sequential):
    """The tiny network, with terms of its own: the chosen loss, and the same of a second head on its features."""

    def __init__(self, network: torch.nn.Sequential, factor: float) -> None:
        super().__init__(*network)
        self.factor = factor

    def training_outputs(self, images: torch.Tensor) -> list[torch.Tensor]:
        features = self[2](self[1](self[0](images)))
        return [self[4](self[3](features)), features[:, :4]]

    def loss_terms(
        self, outputs: list[torch.Tensor], target: torch.Tensor, criterion: Criterion
    ) -> dict[str, torch.Tensor]:
        logits, auxiliary = outputs
        second = self.factor * criterion(auxiliary, target)["cross_entropy"]
        return {**criterion(logits, target), "auxiliary": second}


def test_a_network_with_terms_of_its_own_is_trained_on_their_sum_and_each_is_a_curve() -> None:
    weights = torch.tensor([0.0, 1.0, 0.5, 2.0])
    run = segmenter_trainer(Supervised(tiny(), 0.4), weights=weights)
    (batch,) = batches(0, 1)
    network(run).train()
    torch.manual_seed(3)  # of the dropout
    logits, auxiliary = (outputs.clone() for outputs in network(run).training_outputs(batch["image"]))
    logits[:, 0] = auxiliary[:, 0] = -1e30  # id 0 is not allowed
    parts = [torch.nn.functional.cross_entropy(x, batch["mask"], weights) for x in (logits, auxiliary)]
    torch.manual_seed(3)
    terms = run.objective.loss(batch)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {"cross_entropy": parts[0].item(), "auxiliary": 0.4 * parts[1].item()}
    )
    first = next(run.run(batches))
    assert list(first.terms) == ["cross_entropy", "auxiliary"]
    assert first.loss == pytest.approx(sum(first.terms.values()))
    assert first.terms.items() <= first.curves.items()


def test_terms_of_a_networks_own_that_are_the_chosen_loss_alone_train_to_the_same_bytes() -> None:
    class Same(Supervised):
        def training_outputs(self, images: torch.Tensor) -> torch.Tensor:
            return self(images)

        def loss_terms(
            self, outputs: torch.Tensor, target: torch.Tensor, criterion: Criterion
        ) -> dict[str, torch.Tensor]:
            return criterion(outputs, target)

    runs = [segmenter_trainer(Same(tiny(), 0)), segmenter_trainer(tiny())]
    for run in runs:
        list(run.run(batches))
    assert equal(runs[0].weights("segmenter"), runs[1].weights("segmenter"))
    assert runs[0].history == runs[1].history


def test_no_network_without_terms_of_its_own_counts_as_one_with() -> None:
    assert isinstance(Supervised(tiny(), 0), SupervisesItself)
    assert not isinstance(tiny(), SupervisesItself)


class WithEncoder(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rest = tiny()
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.rest(self.encoder(images))
        return logits


def test_an_encoder_with_a_lower_rate_takes_that_share_of_the_first_step_of_the_rest() -> None:
    # The first step of AdamW without decay is the rate times the gradient's sign, whatever the gradient is.
    moved = {}
    for factor in (1.0, 0.25, 0.0):
        network = WithEncoder()
        before = {name: value.detach().clone() for name, value in network.named_parameters()}
        run = segmenter_trainer(network, steps=1, lr=0.01, weight_decay=0.0, fine_tuning=FineTuning(factor))
        list(run.run(batches))
        moved[factor] = {name: (value - before[name]).detach() for name, value in network.named_parameters()}
    for name, step in moved[1.0].items():
        factors = (0.25, 0.0) if name.startswith("encoder") else (1.0, 1.0)
        assert torch.allclose(moved[0.25][name], step * factors[0], rtol=1e-3, atol=1e-6)
        assert torch.allclose(moved[0.0][name], step * factors[1], rtol=1e-3, atol=1e-6)
    assert float(moved[1.0]["encoder.0.weight"].abs().max()) > 0.005


def test_frozen_normalisations_of_the_encoder_keep_their_statistics_and_train_their_factors() -> None:
    network = WithEncoder()
    norm, other = network.encoder[1], network.rest[1]
    before = (
        norm.running_mean.clone(),
        norm.running_var.clone(),
        norm.weight.detach().clone(),
        other.running_mean.clone(),
    )
    list(segmenter_trainer(network, steps=3, fine_tuning=FineTuning(freeze_norms=True)).run(batches))
    assert torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_var, before[1])
    assert not torch.equal(norm.weight, before[2])
    assert not torch.equal(other.running_mean, before[3])


def test_an_encoder_without_batch_normalisation_has_none_to_freeze() -> None:
    network = WithEncoder()
    network.encoder = network.encoder[:1]
    with pytest.raises(ParamsError, match=r"train\.freeze_norms: expected an encoder with batch normalisation; this "):
        segmenter_trainer(network, fine_tuning=FineTuning(freeze_norms=True))


def test_fine_tuning_with_a_teacher_goes_on_where_it_was_stopped() -> None:
    def begun() -> Trainer:
        def teach(student: torch.nn.Module) -> Consistency:
            return Consistency(student, MeanTeacher(0.9, 1.0, 0.0, 0.0), 8, lambda network: 0.0)

        torch.manual_seed(0)
        return segmenter_trainer(WithEncoder(), steps=8, teach=teach, fine_tuning=FineTuning(0.1, freeze_norms=True))

    whole, stopped, restored = begun(), begun(), begun()
    list(whole.run(batches))
    events = stopped.run(batches)
    for _ in range(4):
        next(events)
    restored.restore(*stopped.state())
    list(restored.run(batches))
    assert restored.step == whole.step == 8
    for name in ("segmenter", "teacher"):
        assert equal(whole.weights(name), restored.weights(name))
