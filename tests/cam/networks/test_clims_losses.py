"""The losses of CLIMS against plain loops, numbers worked out on paper, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wildseg.cam.networks.clims_losses import (
    area,
    background_suppression,
    background_text_matching,
    masked_images,
    object_text_matching,
)


def random(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_similarity_of_a_quarter_and_one_of_a_fifth() -> None:
    assert object_text_matching(torch.tensor([0.25])).item() == pytest.approx(1.386294, abs=1e-6)
    assert background_text_matching(torch.tensor([0.2])).item() == pytest.approx(0.223144, abs=1e-6)


@pytest.mark.parametrize("similarity", [-0.3, 0.0, 1e-5, 1.0])
def test_similarities_are_clamped_before_the_logarithm(similarity: float) -> None:
    value = torch.tensor([similarity], dtype=torch.float64)
    nearest = min(max(similarity, 1e-4), 0.9999)
    assert object_text_matching(value).item() == pytest.approx(-math.log(nearest), rel=1e-5)
    assert background_text_matching(value).item() == pytest.approx(-math.log(1 - nearest), rel=1e-5)


@pytest.mark.parametrize("threshold", [None, 0.26])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_background_suppression_is_that_of_a_plain_loop(threshold: float | None, reduction: str) -> None:
    similarities = random(5, 4, low=-0.2, high=0.6)
    related = random(5, 4) > 0.3
    related[2] = False
    expected = []
    for row, chosen in zip(similarities.tolist(), related.tolist(), strict=True):
        terms = [
            -math.log(1 - s) if threshold is None or s > threshold else 0.0
            for s, own in zip(row, chosen, strict=True)
            if own
        ]
        expected.append(sum(terms) / (len(terms) if reduction == "mean" and terms else 1))
    found = background_suppression(similarities, related, threshold, reduction)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert found[2] == 0
    assert found.sum() > 0.5


def test_suppression_sets_in_at_the_threshold_with_a_jump() -> None:
    around = torch.tensor([[0.26], [0.2601]])
    below, above = background_suppression(around, torch.ones(2, 1, dtype=torch.bool), 0.26, "sum").tolist()
    assert below == 0
    assert above == pytest.approx(-math.log(1 - 0.2601), rel=1e-5)


def test_suppression_stays_finite_and_has_finite_gradients_at_a_similarity_of_one() -> None:
    similarities = torch.tensor([[1.0, 0.3]], requires_grad=True)
    for related in ([[True, True]], [[False, True]]):
        loss = background_suppression(similarities, torch.tensor(related), 0.26, "sum").sum()
        (gradient,) = torch.autograd.grad(loss, similarities)
        assert loss.isfinite()
        assert gradient.isfinite().all()
        assert gradient[0, 1] == pytest.approx(1 / (1 - 0.3))


def bilinear(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (h, w) with corners on corners, point by point."""
    large = torch.zeros(size, dtype=values.dtype)
    for y in range(size[0]):
        for x in range(size[1]):
            v, u = y * (values.shape[0] - 1) / (size[0] - 1), x * (values.shape[1] - 1) / (size[1] - 1)
            top, left = min(int(v), values.shape[0] - 2), min(int(u), values.shape[1] - 2)
            v, u = v - top, u - left
            near = values[top : top + 2, left : left + 2]
            large[y, x] = (near * torch.tensor([[(1 - v) * (1 - u), (1 - v) * u], [v * (1 - u), v * u]])).sum()
    return large


def test_pairs_see_the_image_through_the_map_of_their_class_and_through_its_complement() -> None:
    images, maps = random(2, 3, 9, 13, low=-2, high=2), random(2, 4, 3, 5)
    rows, classes = torch.tensor([0, 0, 1]), torch.tensor([1, 3, 0])
    foreground, background = masked_images(images, maps, rows, classes, (7, 10))
    assert foreground.shape == background.shape == (3, 3, 7, 10)
    for pair, (row, index) in enumerate(zip(rows.tolist(), classes.tolist(), strict=True)):
        through = bilinear(maps[row, index], (7, 10))
        for channel in range(3):
            seen = bilinear(images[row, channel], (7, 10))
            torch.testing.assert_close(foreground[pair, channel], through * seen)
            torch.testing.assert_close(background[pair, channel], (1 - through) * seen)


def test_a_map_of_ones_leaves_the_image_as_foreground_and_nothing_as_background() -> None:
    images = random(1, 3, 8, 8, low=-2, high=2)
    pair = torch.zeros(1, dtype=torch.int64)
    foreground, background = masked_images(images, torch.ones(1, 1, 2, 2, dtype=torch.float64), pair, pair, (8, 8))
    torch.testing.assert_close(foreground, images)
    assert background.abs().max() < 1e-12


def test_the_area_is_the_mean_over_all_classes_and_cells_of_each_image() -> None:
    maps = torch.zeros(2, 3, 2, 2)
    maps[0, 1] = 1  # a third of the first image's cells and classes
    maps[1, :, 0, 0] = 0.5  # an eighth
    assert area(maps).item() == pytest.approx(1 / 3 + 1 / 8)


def test_gradients_of_all_terms_are_those_of_finite_differences() -> None:
    images = random(1, 3, 5, 5, low=-2, high=2)
    texts = torch.nn.functional.normalize(random(3, 12, low=-1, high=1), dim=1)
    tower = random(12, 75, low=-1, high=1)
    pair = torch.zeros(1, dtype=torch.int64)

    def terms(logits: Tensor) -> Tensor:
        maps = logits.sigmoid()
        views = masked_images(images, maps, pair, pair, (5, 5))
        features = [torch.nn.functional.normalize(view.flatten(1) @ tower.T, dim=1) for view in views]
        own = [(feature @ texts[0]).abs() for feature in features]
        related = torch.ones(1, 2, dtype=torch.bool)
        suppressed = background_suppression(features[0] @ texts[1:].T, related, None, "mean")
        return torch.stack(
            [object_text_matching(own[0]), background_text_matching(own[1]), suppressed, area(maps)[None]]
        ).sum()

    logits = random(1, 2, 3, 3, low=-1, high=1).requires_grad_()
    assert torch.autograd.gradcheck(terms, (logits,))
