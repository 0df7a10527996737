import re

import numpy as np

from tests.report.test_page import Read
from wildseg.metrics.agreement import agreement
from wildseg.metrics.consistency import pair_counts
from wildseg.metrics.expected_iou import pixel_statistics
from wildseg.metrics.label_free import FLIP, MASKS, NEIGHBOURS, LabelFree
from wildseg.report.label_free import verdicts


def measured(number: int) -> LabelFree:
    found, noise = LabelFree(), np.random.default_rng(0)
    for place in range(number):
        one = noise.integers(1, 4, (6, 6)).astype(np.uint8)
        other = np.where(noise.random((6, 6)) < 0.8, one, 1)
        probabilities = np.vstack([np.zeros(36), noise.dirichlet(np.ones(3), 36).T])
        found.add_probabilities(place, 18, 36, pixel_statistics(probabilities, one.ravel(), np.array([1, 2, 3])))
        for name in (MASKS, FLIP):
            found.add_pair(name, place, pair_counts(one, other, 4))
    return found


def test_every_measure_has_a_row_with_its_interval_and_what_was_not_measured_has_none() -> None:
    found = measured(8)
    found.labels = agreement(np.array([[True, False], [False, True]]), np.array([[True, True], [False, True]]))
    text = Read(str(verdicts([("Seen <sources>", found), ("Held-out sources", LabelFree())]))).text
    assert "Seen <sources>8 frames." in text
    assert "Held-out" not in text
    estimate, flip = found.estimate(), found.pair(FLIP)
    for one in (estimate.miou, flip.miou, found.confident()):
        assert f"{one.value:.3f} {one.interval.low:.3f}–{one.interval.high:.3f}" in text
    assert f"temperature {estimate.temperature:.2f}" in text
    assert f"{flip.pixels.value:.1%} of pixels" in text
    assert "Labels and second labels" in text
    assert f"kappa {found.labels.pooled_kappa:.2f}" in text
    assert "Key frame and the next one" not in text  # nothing of `NEIGHBOURS` was counted
    assert not re.search("nan", text, re.IGNORECASE)
    found.add_pair(NEIGHBOURS, 0, pair_counts(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8), 4))
    assert "Key frame and the next one" in Read(str(verdicts([("", found)]))).text


def test_without_a_measured_frame_there_is_no_part() -> None:
    assert not verdicts([("Seen sources", LabelFree())])
