"""The mean teacher against plain loops; a training with one goes on after a stop as if there had been none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.segment.networks import batches, segmenter_trainer, tiny
from wildseg.segment import teacher
from wildseg.segment.params import MeanTeacher
from wildseg.segment.teacher import Consistency, WeightsAverage
from wildseg.training.trainer import Trainer

CONFIG = MeanTeacher(decay=0.7, weight=2.0, min_confidence=0.0, ramp_up=0.5)
IDS = torch.tensor([1, 2, 3])


def half_labelled(start: int, stop: int):  # noqa: ANN201
    for batch in batches(start, stop):
        mask = batch["mask"].clone()
        mask[:, :, ::2] = 255
        yield {**batch, "mask": mask}


def taught(config: MeanTeacher = CONFIG, mious: tuple[float, float] | None = None, **changes: object) -> Trainer:
    """A training with a teacher; `mious` are those of student and teacher at every validation."""
    measure = (lambda: mious[0]) if mious else None
    return segmenter_trainer(
        tiny(),
        miou=measure,
        teach=lambda network: Consistency(network, config, 12, lambda _: mious[1] if mious else math.nan),
        **changes,
    )


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_teacher_is_the_moving_average_of_weights_and_statistics() -> None:
    run = taught()
    networks = run.objective.networks
    averages = {name: value.double().clone() for name, value in networks["segmenter"].state_dict().items()}
    for event in run.run(half_labelled):
        decay = min(0.7, 1 - 1 / (event.step + 1))  # 1/2, 2/3, and then 0.7
        for name, value in networks["segmenter"].state_dict().items():
            averages[name] = decay * averages[name] + (1 - decay) * value.double()
    state = networks["teacher"].network.state_dict()
    assert state["1.num_batches_tracked"] == 12
    for name in averages.keys() - {"1.num_batches_tracked"}:
        torch.testing.assert_close(state[name].double(), averages[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(state["0.weight"], networks["segmenter"].state_dict()["0.weight"])


@pytest.mark.parametrize(("steps", "ramp"), [(0, math.exp(-5)), (3, math.exp(-5 / 4)), (6, 1.0), (11, 1.0)])
def test_the_term_is_the_squared_distance_where_masks_are_silent_and_the_teacher_is_certain(
    steps: int, ramp: float
) -> None:
    random = torch.Generator().manual_seed(0)
    student, wanted = (3 * torch.randn(2, 4, 3, 5, generator=random) for _ in range(2))
    target = torch.randint(1, 4, (2, 3, 5), generator=random)
    target[0, 1:] = target[1, :, 0] = 255
    made = Consistency(tiny(), replace(CONFIG, min_confidence=0.8), 12, lambda _: 0.0)
    made.average.steps.fill_(steps)

    total, unlabelled, certain = 0.0, 0, 0
    for b, y, x in np.ndindex(2, 3, 5):
        if target[b, y, x] == 255:
            unlabelled += 1
            p, q = (torch.softmax(logits[b, 1:, y, x].double(), 0).tolist() for logits in (student, wanted))
            if max(q) >= 0.8:
                certain += 1
                total += sum((a - c) ** 2 for a, c in zip(p, q, strict=True))
    assert 0 < certain < unlabelled
    term = made.term(student, wanted, target, IDS, lambda mass: mass)
    assert term.item() == pytest.approx(2 * ramp * total / unlabelled, rel=1e-5)

    pixels: list[torch.Tensor] = []
    made.term(student, wanted, target, IDS, lambda mass: pixels.append(mass) or mass)
    parts = [made.term(student[i:j], wanted[i:j], target[i:j], IDS, lambda _: pixels[0]) for i, j in ((0, 1), (1, 2))]
    torch.testing.assert_close(parts[0] + parts[1], term)


def test_where_every_pixel_is_labelled_or_the_teacher_is_in_doubt_nothing_is_added() -> None:
    student = torch.randn(1, 4, 3, 5).requires_grad_()
    made = Consistency(tiny(), replace(CONFIG, min_confidence=1.0), 12, lambda _: 0.0)
    labelled, silent = torch.ones(1, 3, 5).long(), torch.full((1, 3, 5), 255)
    for target in (labelled, silent):
        term = made.term(student, torch.randn(1, 4, 3, 5), target, IDS, lambda mass: mass)
        term.backward()
        assert term.item() == 0
        assert not student.grad.any()


def test_the_student_is_drawn_to_the_teacher_and_the_teacher_has_no_gradient_and_no_dropout() -> None:
    run = taught()
    first = next(run.run(half_labelled))
    assert list(first.terms) == ["cross_entropy", "consistency"]
    assert first.loss == pytest.approx(sum(first.terms.values()))
    assert first.curves["consistency"] > 0
    network, average = run.objective.networks["segmenter"], run.objective.networks["teacher"]
    assert not any(module.training for module in average.modules())
    assert network.training
    assert all(parameter.grad is None for parameter in average.parameters())
    assert run.result().parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("stopped_at", [1, 5, 7])
def test_a_restored_training_ends_with_the_bytes_of_one_that_was_never_stopped(stopped_at: int) -> None:
    whole, stopped, restored = (taught(mious=(0.5, 0.6)) for _ in range(3))
    list(whole.run(half_labelled))
    for event in stopped.run(half_labelled):
        if event.step == stopped_at:
            break
    restored.restore(*stopped.state())
    list(restored.run(half_labelled))
    assert same(restored.state()[0], whole.state()[0])
    assert restored.state()[1] == whole.state()[1]
    assert same(teacher.weights(restored), teacher.weights(whole))


@pytest.mark.parametrize(
    ("mious", "chosen"), [((0.5, 0.6), "teacher"), ((0.6, 0.5), "student"), ((0.5, 0.5), "teacher"), (None, "teacher")]
)
def test_the_weights_that_are_left_are_those_of_the_better_of_both(
    mious: tuple[float, float] | None, chosen: str
) -> None:
    run = taught(mious=mious)
    events = list(run.run(half_labelled))
    networks = run.objective.networks
    expected = networks["segmenter"] if chosen == "student" else networks["teacher"].network
    assert same(teacher.weights(run), dict(expected.state_dict()))
    if mious:
        measured = {"val_miou": max(mious), "val_miou_student": mious[0], "val_miou_teacher": mious[1]}
        assert events[-1].metrics == measured


def test_without_a_teacher_the_weights_are_those_of_the_network() -> None:
    run = segmenter_trainer(tiny())
    list(run.run(batches))
    assert same(teacher.weights(run), run.weights("segmenter"))


def test_a_teacher_of_weight_zero_changes_no_weight_of_its_student() -> None:
    runs = [taught(replace(CONFIG, weight=0.0)), segmenter_trainer(tiny())]
    for run in runs:
        list(run.run(half_labelled))
    assert same(*(run.weights("segmenter") for run in runs))


def test_an_average_of_one_network_is_that_network() -> None:
    network = tiny()
    average = WeightsAverage(network)
    average.update(network, 1, 0.5)
    assert same(dict(average.network.state_dict()), dict(network.state_dict()))
    images = torch.randn(1, 3, 8, 8)
    network.eval()
    average.eval()
    torch.testing.assert_close(average(images), network(images))
