"""A classifier that has learned nothing is told from one that has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wildseg.cam.networks.untrained import entropy, remark
from wildseg.training.events import Event

LABELS = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1]], bool)


def history(*losses: float) -> list[Event]:
    return [Event(step + 1, 0.1, loss, {"classification": loss}) for step, loss in enumerate(losses)]


def test_the_entropy_is_the_lowest_loss_of_a_constant_answer() -> None:
    target = torch.from_numpy(LABELS.astype(np.float64))
    answer = target.mean(0).clamp(1e-12, 1 - 1e-12).expand_as(target)
    assert entropy(LABELS) == pytest.approx(float(F.binary_cross_entropy(answer, target)), abs=1e-9)


def test_a_loss_of_the_entropy_is_a_line_that_says_what_to_do() -> None:
    line = remark(LABELS, history(0.9, entropy(LABELS)), "cam.options.classifier")
    assert line is not None
    assert line.startswith("the classifier has learned nothing from the images: its loss is 0.418,")
    assert line.endswith("see cam.options.classifier")


def test_a_lower_loss_is_none() -> None:
    assert remark(LABELS, history(0.9, 0.5 * entropy(LABELS)), "x") is None


def test_single_steps_are_averaged() -> None:
    losses = [0.2] * 90 + [0.1, 0.8] * 5  # the last tenth is above the entropy, without its last step below
    assert remark(LABELS, history(*losses), "x") is not None
    assert remark(LABELS, history(*losses[:-1]), "x") is None


def test_a_training_of_other_terms_and_one_of_no_step_say_nothing() -> None:
    assert remark(LABELS, [], "x") is None
    assert remark(LABELS, [Event(1, 0.1, 2.0, {"transfer": 2.0})], "x") is None


def test_labels_that_never_change_say_nothing() -> None:
    assert remark(np.ones((3, 2), bool), history(0.0), "x") is None
