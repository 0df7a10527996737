import numpy as np
import pytest

from wildseg.metrics import intervals
from wildseg.metrics.agreement import agreement
from wildseg.metrics.consistency import pair_counts
from wildseg.metrics.expected_iou import estimate, pixel_statistics
from wildseg.metrics.label_free import FLIP, HEADLINE, MASKS, PAIRS, LabelFree, headline

IDS = np.array([1, 2])


def frames(number: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels of frames: two label images of (4, 5), and probabilities (3, 20)."""
    noise = np.random.default_rng(0)
    found = []
    for _ in range(number):
        one, other = noise.integers(1, 3, (2, 4, 5)).astype(np.uint8)
        first = noise.random(20)
        found.append((one, other, np.stack([np.zeros(20), first, 1 - first])))
    return found


def counted(number: int) -> LabelFree:
    measures = LabelFree()
    for place, (one, other, probabilities) in enumerate(frames(number)):
        measures.add_pair(FLIP, place // 2, pair_counts(one, other, 3))
        confident = int((probabilities.max(0) >= 0.9).sum())
        measures.add_probabilities(place // 2, confident, 20, pixel_statistics(probabilities, one.ravel(), IDS))
    return measures


def test_frames_of_a_stretch_are_summed_and_measured_together() -> None:
    measures, made = counted(14), frames(14)
    assert measures.frames == 14
    pixels = np.concatenate([(one == other).ravel() for one, other, _ in made])
    assert measures.pair(FLIP).pixels.value == pytest.approx(pixels.mean())
    each = np.stack([pair_counts(one, other, 3) for one, other, _ in made])
    by_stretch = each.reshape(7, 2, 3, 3).sum(1)
    assert measures.pair(FLIP).miou.value == pytest.approx(float(intervals.miou(each.sum(0))))
    assert measures.pair(FLIP).miou.interval == intervals.interval(by_stretch, intervals.miou)
    confident = np.concatenate([probabilities.max(0) >= 0.9 for *_, probabilities in made])
    assert measures.confident().value == pytest.approx(confident.mean())
    low, high = measures.confident().interval
    assert low < confident.mean() < high
    sums = np.stack([pixel_statistics(p, one.ravel(), IDS) for one, _, p in made]).reshape(7, 2, -1, 10).sum(1)
    assert measures.estimate() == estimate(sums)


def test_the_report_has_a_number_for_each_measure_and_nan_for_what_was_not_measured() -> None:
    measures = counted(14)
    measures.labels = agreement(np.array([[True, False]]), np.array([[True, True]]))
    report = measures.report()
    assert {f"{name}.{kind}" for name in PAIRS for kind in ("pixels", "miou")} < set(report)
    assert np.isnan(report[f"{MASKS}.miou"])
    assert report["labels.equal"] == 0.5
    assert report["estimated_miou_low"] < report["estimated_miou"] < report["estimated_miou_high"]
    assert headline(report) == {name: report[name] for name in HEADLINE}
    nothing = LabelFree().report()
    assert nothing.pop("frames") == 0
    assert np.isnan(list(nothing.values())).all()
    assert "labels.kappa" not in nothing
