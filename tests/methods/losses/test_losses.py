"""Every loss of train.loss against plain loops and other libraries, and what confidence guidance selects."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch.nn import functional

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.methods.losses import confidence_guided, dice, generalised_cross_entropy, symmetric_cross_entropy
from wildseg.segment.losses import mask_invalid_classes

ALL = lookup.available("methods.losses")
VARIANTS = [(name, {}) for name in ALL] + [("dice", {"cross_entropy": 0.5}), ("confidence_guided", {"mean": "all"})]


@pytest.mark.parametrize("name", ALL)
def test_every_loss_is_zero_without_labels_and_falls_as_the_right_class_gains(name: str) -> None:
    loss = lookup.load("methods.losses", name).loss
    logits, target = torch.zeros(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    nothing = loss(logits, torch.full_like(target, 255), None, lambda mass: mass)
    right = functional.one_hot(target, 3).permute(0, 3, 1, 2).float()
    sums = [sum(map(float, loss(scale * right, target, None, lambda mass: mass).values())) for scale in (0, 1, 5)]
    assert sum(map(float, nothing.values())) == 0
    assert sums[0] > sums[1] > sums[2] > 0


def random_case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (4, 3, 5, 6), ids with ignored pixels, of which the first image has many, and class weights."""
    random = torch.Generator().manual_seed(1)
    logits, target = torch.randn(4, 3, 5, 6, generator=random), torch.randint(0, 3, (4, 5, 6), generator=random)
    target[0, 1:] = 255
    return logits.to(dtype), target, torch.tensor([0.5, 1.0, 3.0], dtype=dtype)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("weighted", [True, False])
def test_every_loss_of_parts_adds_up_to_that_of_the_whole_and_so_do_the_gradients(
    name: str, options: dict, weighted: bool
) -> None:
    loss = partial(lookup.load("methods.losses", name).loss, **options)
    logits, target, factors = random_case()
    weights = factors if weighted else None
    logits.requires_grad_()
    sums: list[torch.Tensor] = []
    whole = loss(logits, target, weights, lambda mass: sums.append(mass) or mass)
    (gradient,) = torch.autograd.grad(sum(whole.values()), logits)
    parts = []
    for part in (slice(0, 1), slice(1, 4)):
        over_all = iter(sums)  # each process sums the same numbers in the same order
        parts.append(loss(logits[part], target[part], weights, lambda _, known=over_all: next(known).detach()))
        assert next(over_all, None) is None
    for term, value in whole.items():
        torch.testing.assert_close(parts[0][term] + parts[1][term], value)
    (of_parts,) = torch.autograd.grad(sum(term for part in parts for term in part.values()), logits)
    torch.testing.assert_close(of_parts, gradient)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("weighted", [True, False])
def test_the_gradient_of_every_loss_is_that_of_finite_differences(name: str, options: dict, weighted: bool) -> None:
    loss = partial(lookup.load("methods.losses", name).loss, **options)
    logits, target, factors = random_case(torch.float64)
    logits, target = logits[:2, :, :2, :3].contiguous(), target[:2, :2, :3].contiguous()
    weights = factors if weighted else None
    assert torch.autograd.gradcheck(
        lambda x: sum(loss(x, target, weights, lambda mass: mass).values()), logits.requires_grad_()
    )


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("scale", [1.0, 200.0, 1e6])
def test_every_loss_is_finite_where_a_class_is_invalid_and_where_the_network_is_wrong_and_sure(
    name: str, options: dict, scale: float
) -> None:
    loss = partial(lookup.load("methods.losses", name).loss, **options)
    logits, target, _ = random_case()
    wide = torch.cat([torch.full_like(logits[:, :1], 50.0), scale * logits], 1).requires_grad_()  # id 0 is invalid
    target = torch.where(target == 255, 255, target + 1)
    terms = loss(mask_invalid_classes(wide, torch.tensor([1, 2, 3])), target, torch.tensor([0.0, 1, 1, 1]), lambda x: x)
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert torch.isfinite(wide.grad).all()
    assert torch.equal(wide.grad[:, 0], torch.zeros_like(wide.grad[:, 0]))
    ignored = (target == 255)[:, None].expand_as(wide)
    assert not wide.grad[ignored].any()


def by_hand(target: torch.Tensor, weights: list[float], value: Callable[[int, tuple[int, ...]], float]) -> float:
    """The weighted mean over labelled pixels of a value of (id, place), by plain loops."""
    total = mass = 0.0
    for place in np.ndindex(*target.shape):
        label = int(target[place])
        if label != 255:
            total += weights[label] * value(label, place)
            mass += weights[label]
    return total / mass


def probabilities(logits: torch.Tensor, place: tuple[int, ...]) -> list[float]:
    batch, y, x = place
    scores = [math.exp(float(logit)) for logit in logits[batch, :, y, x]]
    return [score / sum(scores) for score in scores]


def test_symmetric_cross_entropy_is_both_sums_over_classes() -> None:
    logits, target, weights = random_case(torch.float64)
    terms = symmetric_cross_entropy.loss(logits, target, weights, lambda mass: mass, alpha=0.3, beta=2.0)

    def forward(label: int, place: tuple[int, ...]) -> float:
        return -math.log(probabilities(logits, place)[label])

    def reverse(label: int, place: tuple[int, ...]) -> float:
        logs = [0.0 if k == label else -4.0 for k in range(3)]  # log q of a label that is certain
        return -sum(p * log for p, log in zip(probabilities(logits, place), logs, strict=True))

    assert terms["cross_entropy"].item() == pytest.approx(0.3 * by_hand(target, weights.tolist(), forward))
    assert terms["reverse_cross_entropy"].item() == pytest.approx(2 * by_hand(target, weights.tolist(), reverse))


def test_generalised_cross_entropy_is_the_mean_of_its_formula() -> None:
    logits, target, weights = random_case(torch.float64)
    for q in (0.2, 0.7, 1.0):

        def value(label: int, place: tuple[int, ...], q: float = q) -> float:
            return (1 - probabilities(logits, place)[label] ** q) / q

        (term,) = generalised_cross_entropy.loss(logits, target, weights, lambda mass: mass, q=q).values()
        assert term.item() == pytest.approx(by_hand(target, weights.tolist(), value))


def test_generalised_cross_entropy_lies_between_cross_entropy_and_the_absolute_error() -> None:
    logits, target, _ = random_case(torch.float64)
    (near,) = generalised_cross_entropy.loss(logits, target, None, lambda mass: mass, q=1e-9).values()
    torch.testing.assert_close(near, functional.cross_entropy(logits, target, ignore_index=255))
    # Of two ids with logits 0 and log 3 the label has a probability of 3/4.
    pixel = torch.tensor([0.0, math.log(3)], dtype=torch.float64).reshape(1, 2, 1, 1)
    (far,) = generalised_cross_entropy.loss(pixel, torch.ones(1, 1, 1).long(), None, lambda mass: mass, q=1.0).values()
    assert far.item() == pytest.approx(0.25)


def test_dice_is_the_mean_over_the_classes_of_the_labels_by_plain_loops() -> None:
    logits, target, weights = random_case(torch.float64)
    target[target == 1] = 2  # no pixel of class 1
    overlap, size = [0.0] * 3, [0.0] * 3
    for place in np.ndindex(*target.shape):
        if (label := int(target[place])) != 255:
            for k, p in enumerate(probabilities(logits, place)):
                overlap[k] += p * (k == label)
                size[k] += p + (k == label)
    losses = [1 - 2 * i / s for i, s in zip(overlap, size, strict=True)]
    (plain,) = dice.loss(logits, target, None, lambda mass: mass).values()
    assert plain.item() == pytest.approx((losses[0] + losses[2]) / 2)
    (weighted,) = dice.loss(logits, target, weights, lambda mass: mass).values()
    assert weighted.item() == pytest.approx((0.5 * losses[0] + 3 * losses[2]) / 3.5)


def test_dice_is_that_of_segmentation_models_pytorch_where_all_classes_are_shown() -> None:
    logits, target, _ = random_case()
    reference = DiceLoss("multiclass", from_logits=True, ignore_index=255)
    (term,) = dice.loss(logits, target, None, lambda mass: mass).values()
    torch.testing.assert_close(term, reference(logits, target))
    target[target == 1] = 255  # theirs is a mean over all classes, of which those that are not shown have a loss of 0
    (term,) = dice.loss(logits, target, None, lambda mass: mass).values()
    torch.testing.assert_close(term * 2 / 3, reference(logits, target))


def test_dice_of_a_golden_case() -> None:
    # Two pixels, both of class 0, of probabilities 1/2 and 3/4: 2 (5/4) / (5/4 + 2) = 10/13.
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]], dtype=torch.float64).T.reshape(1, 2, 1, 2)
    (term,) = dice.loss(logits, torch.zeros(1, 1, 2).long(), None, lambda mass: mass).values()
    assert term.item() == pytest.approx(1 - 10 / 13)


def test_cross_entropy_beside_dice_is_a_term_of_its_own() -> None:
    logits, target, weights = random_case()
    terms = dice.loss(logits, target, weights, lambda mass: mass, cross_entropy=0.5)
    assert list(terms) == ["dice", "cross_entropy"]
    reference = functional.cross_entropy(logits, target, weights, ignore_index=255)
    torch.testing.assert_close(terms["cross_entropy"], 0.5 * reference)


def test_confidence_guidance_over_all_pixels_counts_uncertain_ones_as_zero() -> None:
    logits, target, weights = random_case(torch.float64)
    each = functional.cross_entropy(logits, target, weights, ignore_index=255, reduction="none")
    (plain,) = confidence_guided.loss(logits, target, None, lambda mass: mass, mean="all").values()
    torch.testing.assert_close(
        plain, functional.cross_entropy(logits, target, ignore_index=255, reduction="none").mean()
    )
    (weighted,) = confidence_guided.loss(logits, target, weights, lambda mass: mass, mean="all").values()
    torch.testing.assert_close(weighted, each.mean())


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
