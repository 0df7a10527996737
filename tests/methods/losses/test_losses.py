"""Every loss of train.loss, and what confidence guidance selects."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.methods.losses import confidence_guided

ALL = lookup.available("methods.losses")


@pytest.mark.parametrize("name", ALL)
def test_every_loss_is_zero_without_labels_and_falls_as_the_right_class_gains(name: str) -> None:
    loss = lookup.load("methods.losses", name).loss
    logits, target = torch.zeros(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    nothing = loss(logits, torch.full_like(target, 255), None, lambda mass: mass)
    right = functional.one_hot(target, 3).permute(0, 3, 1, 2).float()
    sums = [sum(map(float, loss(scale * right, target, None, lambda mass: mass).values())) for scale in (0, 1, 5)]
    assert sum(map(float, nothing.values())) == 0
    assert sums[0] > sums[1] > sums[2] > 0


@pytest.mark.parametrize("name", ALL)
def test_every_loss_of_parts_adds_up_to_that_of_the_whole(name: str) -> None:
    loss = lookup.load("methods.losses", name).loss
    random = torch.Generator().manual_seed(1)
    logits, target = torch.randn(4, 3, 5, 6, generator=random), torch.randint(0, 3, (4, 5, 6), generator=random)
    target[0, 1:] = 255
    weights = torch.tensor([0.5, 1.0, 3.0])
    masses: list[torch.Tensor] = []
    whole = loss(logits, target, weights, lambda mass: masses.append(mass) or mass)
    parts = [loss(logits[part], target[part], weights, lambda _: masses[0]) for part in (slice(0, 1), slice(1, 4))]
    for term, value in whole.items():
        torch.testing.assert_close(parts[0][term] + parts[1][term], value)


MASK = np.array([[0, 1, 255, 2]], np.uint8)
CONFIDENCE = np.array([[0.2, 0.95, 1.0, 0.9]], np.float32)


def test_confidence_guidance_keeps_pixels_that_reach_mu() -> None:
    np.testing.assert_array_equal(confidence_guided.select(MASK, CONFIDENCE, 0.9), [[255, 1, 255, 2]])


@pytest.mark.parametrize("mu", [0.5, 0.8, 0.9, 0.95, 0.99, 1.0])
def test_what_reached_mu_when_it_was_stored_reaches_it_when_it_is_read(mu: float, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    computed = np.array([[mu - 0.003, mu, np.nextafter(np.float32(mu), np.float32(1)), min(1, mu + 0.003)]], np.float32)
    artifacts.save_confidence("a", computed)
    kept = confidence_guided.select(np.ones((1, 4), np.uint8), artifacts.load_confidence("a"), mu)
    assert kept.tolist()[0][1:] == [1, 1, 1]
    assert kept[0, 0] == (1 if round(255 * (mu - 0.003)) == round(255 * mu) else 255)


def test_mu_zero_is_the_plain_loss_and_mu_above_one_ignores_everything() -> None:
    np.testing.assert_array_equal(confidence_guided.select(MASK, CONFIDENCE, 0), MASK)
    nothing = confidence_guided.select(MASK, CONFIDENCE, 1.01)
    assert (nothing == 255).all()
    assert nothing.dtype == np.uint8
    target = torch.from_numpy(nothing)[None].long()
    terms = confidence_guided.loss(torch.randn(1, 4, 1, 4), target, None, lambda mass: mass)
    assert [float(term) for term in terms.values()] == [0]
