import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from wildseg.segment.losses import class_balanced_weights, cross_entropy, mask_invalid_classes, sqrt_inverse_weights

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 4, 5, 6, generator=GENERATOR)
TARGET = torch.randint(0, 4, (2, 5, 6), generator=GENERATOR)
TARGET[0, :2] = 255


def by_hand(logits: torch.Tensor, target: torch.Tensor, weights: list[float]) -> float:
    total = mass = 0.0
    for b, y, x in np.ndindex(*target.shape):
        label = int(target[b, y, x])
        if label != 255:
            scores = [math.exp(float(logit)) for logit in logits[b, :, y, x]]
            total -= weights[label] * math.log(scores[label] / sum(scores))
            mass += weights[label]
    return total / mass


def test_cross_entropy_is_the_mean_over_labelled_pixels() -> None:
    assert float(cross_entropy(LOGITS, TARGET)) == pytest.approx(by_hand(LOGITS, TARGET, [1, 1, 1, 1]), rel=1e-5)
    reference = functional.cross_entropy(LOGITS, TARGET, ignore_index=255)
    torch.testing.assert_close(cross_entropy(LOGITS, TARGET), reference)


def test_weighted_cross_entropy_is_the_weighted_mean() -> None:
    weights = [0.5, 2.0, 0.0, 1.0]
    loss = cross_entropy(LOGITS, TARGET, torch.tensor(weights))
    assert float(loss) == pytest.approx(by_hand(LOGITS, TARGET, weights), rel=1e-5)
    reference = functional.cross_entropy(LOGITS, TARGET, torch.tensor(weights), ignore_index=255)
    torch.testing.assert_close(loss, reference)


@pytest.mark.parametrize("weights", [None, torch.ones(4), torch.zeros(4)])
def test_without_a_labelled_pixel_loss_and_gradient_are_zero_not_nan(weights: torch.Tensor | None) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = cross_entropy(logits, torch.full_like(TARGET, 255), weights)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_an_undecided_network_loses_the_logarithm_of_the_number_of_ids() -> None:
    assert float(cross_entropy(torch.zeros(1, 11, 3, 3), torch.ones(1, 3, 3).long())) == pytest.approx(math.log(11))


def test_a_forbidden_id_gets_no_probability_and_the_others_share_it_all() -> None:
    scores = mask_invalid_classes(LOGITS, torch.tensor([1, 2, 3])).softmax(1)
    assert torch.equal(scores[:, 0], torch.zeros_like(scores[:, 0]))
    torch.testing.assert_close(scores[:, 1:], LOGITS[:, 1:].softmax(1))


def test_a_forbidden_id_learns_nothing_and_hurts_nobody() -> None:
    logits = LOGITS.clone().requires_grad_()
    cross_entropy(mask_invalid_classes(logits, torch.tensor([1, 2, 3])), TARGET.clamp(min=1)).backward()
    assert torch.isfinite(logits.grad).all()
    assert torch.equal(logits.grad[:, 0], torch.zeros_like(logits[:, 0]))
    assert logits.grad[:, 1:].abs().max() > 0


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    loss = cross_entropy(LOGITS.bfloat16(), TARGET)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(LOGITS, TARGET), rtol=0.02, atol=0.02)


def test_weights_are_the_inverse_root_of_the_frequency_with_mean_one_over_pixels() -> None:
    counts = np.array([0, 900, 100])
    weights = sqrt_inverse_weights(counts)
    np.testing.assert_allclose(weights[2] / weights[1], 3)
    np.testing.assert_allclose((weights * counts).sum() / counts.sum(), 1)
    assert weights[0] == 0


def test_the_weight_of_a_tiny_class_is_capped() -> None:
    np.testing.assert_allclose(sqrt_inverse_weights(np.array([10**9, 1]))[1], 8)


def test_weights_of_equally_frequent_classes_are_one() -> None:
    np.testing.assert_allclose(sqrt_inverse_weights(np.array([7, 7, 7])), 1)
    np.testing.assert_array_equal(sqrt_inverse_weights(np.zeros(3)), 0)


def test_class_balanced_weights_are_the_inverse_effective_numbers() -> None:
    counts, beta = np.array([1, 0, 40, 1000]), 0.99
    numbers = [sum(beta**i for i in range(n)) for n in counts]  # 1 + beta + beta^2 + ... is (1 - beta^n) / (1 - beta)
    weights = class_balanced_weights(counts, beta)
    np.testing.assert_allclose(weights[2] / weights[3], numbers[3] / numbers[2])
    assert weights[0] == 8  # capped
    assert weights[1] == 0
    np.testing.assert_allclose(class_balanced_weights(np.array([30, 70]), beta) @ [0.3, 0.7], 1)


def test_class_balanced_weights_go_from_equal_ones_to_the_inverse_frequency() -> None:
    counts = np.array([100_000, 300_000])
    np.testing.assert_allclose(class_balanced_weights(counts, 0.0), 1)
    np.testing.assert_allclose(class_balanced_weights(counts, 0.9), 1)
    near = class_balanced_weights(counts, 0.999999999)
    np.testing.assert_allclose(near[0] / near[1], 3, rtol=1e-3)
    np.testing.assert_array_equal(class_balanced_weights(np.zeros(3), 0.9), 0)


def test_the_gradient_is_that_of_the_labelled_pixels_alone() -> None:
    logits, reference = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    few = torch.full_like(TARGET, 255)
    few[0, 0, 0], few[1, -1, -1] = 1, 3  # two points
    cross_entropy(logits, few).backward()
    functional.cross_entropy(reference, few, ignore_index=255).backward()
    torch.testing.assert_close(logits.grad, reference.grad)
    assert torch.equal(logits.grad.abs().sum(1) > 0, few != 255)
