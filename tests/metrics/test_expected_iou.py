import math

import numpy as np
import pytest

from wildseg.metrics import confusion
from wildseg.metrics.expected_iou import (
    FEWEST_SHARE,
    PLAIN,
    TEMPERATURES,
    estimate,
    expected_miou,
    pixel_statistics,
)

IDS = np.array([1, 2, 3])  # 0 may not be predicted


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(0))
    return e / e.sum(0)


def drawn(pixels: int, seed: int, spread: float = 2.0) -> np.ndarray:
    """Probabilities (4, P) float32 of the ids 1 to 3."""
    found = np.zeros((4, pixels), np.float32)
    found[IDS] = softmax(np.random.default_rng(seed).normal(0, spread, (3, pixels)))
    return found


def labels_of(probabilities: np.ndarray, seed: int) -> np.ndarray:
    """A label of each pixel, drawn from its probabilities."""
    noise = np.random.default_rng(seed).random(probabilities.shape[1])
    return (probabilities.cumsum(0) < noise).sum(0).clip(1, 3).astype(np.uint8)


def in_loops(probabilities: np.ndarray, mask: np.ndarray, temperature: float) -> tuple[np.ndarray, float]:
    """Expected counts (3, 4) and log loss, pixel by pixel."""
    counts, loss = np.zeros((3, 4)), 0.0
    for pixel in range(probabilities.shape[1]):
        powers = {c: float(probabilities[c, pixel]) ** (1 / temperature) for c in IDS}
        q = {c: powers[c] / sum(powers.values()) for c in IDS}
        best = max(IDS, key=lambda c: q[c])
        for c in IDS:
            counts[0 if c == best else 2, c] += q[c]
        counts[1, best] += 1 - q[best]
        if mask[pixel] in q:
            loss -= math.log(q[mask[pixel]])
    return counts, loss


def test_statistics_are_those_of_a_loop_over_pixels() -> None:
    probabilities = drawn(23, 0)
    mask = np.random.default_rng(1).choice([0, 1, 2, 3, 255], 23).astype(np.uint8)  # 0 is none that may be predicted
    found = pixel_statistics(probabilities, mask, IDS)
    assert found.shape == (len(TEMPERATURES), 13)
    for row, temperature in zip(found, TEMPERATURES, strict=True):
        counts, loss = in_loops(probabilities, mask, temperature)
        np.testing.assert_allclose(row[:-1].reshape(3, 4), counts, rtol=1e-4, atol=1e-6)
        assert row[-1] == pytest.approx(loss, rel=1e-4)
    assert TEMPERATURES[PLAIN] == 1
    np.testing.assert_allclose(found[PLAIN, 1:4], [probabilities[c][probabilities.argmax(0) == c].sum() for c in IDS],
                               rtol=1e-5)  # fmt: skip


def test_four_pixels_counted_on_paper() -> None:
    # Ids 1, 1, 2, 2 are predicted at .75, .5 and, twice, 1: the loss is least where T is smallest, since all is right.
    probabilities = np.array([[0, 0, 0, 0], [0.75, 0.5, 0, 0], [0.25, 0.5, 1, 1]])
    found = pixel_statistics(probabilities, np.array([255, 255, 255, 255]), np.array([1, 2]))
    intersection = np.array([1.25, 2]) / np.array([2, 2 + 0.75])
    assert expected_miou(found) == pytest.approx(intersection.mean(), abs=1e-6)  # no pixel of a mask: T = 1


def test_of_labels_that_follow_the_probabilities_the_expected_miou_is_the_true_one() -> None:
    probabilities = drawn(60_000, 2)
    truth = labels_of(probabilities, 3)
    sums = pixel_statistics(probabilities, truth, IDS)
    true = confusion.miou(confusion.confusion_matrix(truth, probabilities.argmax(0), 4))
    assert 0.4 < true < 0.8
    found = estimate(sums[None])
    assert found.temperature == 1
    assert found.miou.value == pytest.approx(true, abs=0.01)


@pytest.mark.parametrize("steps", [-6, 6])
def test_the_temperature_undoes_a_sharpened_or_flattened_softmax(steps: int) -> None:
    probabilities = drawn(60_000, 2)
    truth = labels_of(probabilities, 3)
    wrong = probabilities ** TEMPERATURES[PLAIN + steps]  # by 1/2 or by 2
    wrong /= wrong.sum(0)
    found = estimate(pixel_statistics(wrong, truth, IDS)[None])
    assert found.temperature == TEMPERATURES[PLAIN + steps]
    assert found.miou.value == pytest.approx(estimate(pixel_statistics(probabilities, truth, IDS)[None]).miou.value)


def test_errors_that_masks_and_model_share_are_not_seen() -> None:
    probabilities = drawn(2_000, 4, spread=20)
    found = estimate(pixel_statistics(probabilities, probabilities.argmax(0), IDS)[None])
    assert found.miou.value > 0.95  # whatever the truth is


def test_a_class_that_is_only_possible_does_not_count() -> None:
    probabilities = np.array([[0, 0], [1 - FEWEST_SHARE / 2, 1 - FEWEST_SHARE / 2], [FEWEST_SHARE / 2] * 2])
    mask = np.array([255, 255])
    assert expected_miou(pixel_statistics(probabilities, mask, np.array([1, 2]))) == pytest.approx(1, abs=1e-3)
    probabilities[1:] = [[0.99, 0.99], [0.01, 0.01]]
    assert expected_miou(pixel_statistics(probabilities, mask, np.array([1, 2]))) == pytest.approx(0.99 / 2, abs=1e-6)


def test_the_interval_is_that_of_a_loop_over_draws_each_with_its_own_temperature() -> None:
    stretches = np.stack([
        pixel_statistics(softened, labels_of(drawn(200, seed), seed), IDS)
        for seed in range(6)
        for softened in [drawn(200, seed) ** (1 + seed / 3)]
    ])  # fmt: skip
    generator = np.random.default_rng(0)
    draws, chosen = [], set()
    for _ in range(1000):
        sums = stretches[generator.integers(6, size=6)].sum(0)
        best = sums[:, -1].argmin()
        counts = sums[best, :-1].reshape(3, 4)
        chosen.add(best)
        draws.append((counts[0] / np.where(counts.sum(0) > 0, counts.sum(0), 1))[1:].mean())
    assert len(chosen) > 1
    found = estimate(stretches)
    assert found.miou.interval == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))), abs=1e-9)
    assert found.miou.interval.low < found.miou.value < found.miou.interval.high


def test_without_frames_nothing_is_estimated() -> None:
    found = estimate(np.zeros((0, len(TEMPERATURES), 13)))
    assert np.isnan([found.miou.value, *found.miou.interval, found.temperature]).all()
