import json

import numpy as np
import pytest

from wildseg.report.frame_numbers import frame_numbers

MAPS = np.array([[1, 1, 2, 2]], np.uint8)
PSEUDO = np.array([[1, 1, 2, 255]], np.uint8)
MODEL = np.array([[1, 2, 2, 2]], np.uint8)
TRUTH = np.array([[1, 1, 2, 255]], np.uint8)
CONFIDENCE = np.array([[1.0, 1.0, 0.5, 0.25]])


def test_numbers_are_those_counted_on_paper() -> None:
    found = frame_numbers(MAPS, PSEUDO, MODEL, CONFIDENCE, TRUTH, 3)
    assert found == {
        "confidence": 0.6875,
        "open": 0.25,
        "masks_model": pytest.approx(1 / 3, abs=1e-4),
        "maps_model": 0.25,
        "shares": {"pseudo": {"1": 0.5, "2": 0.25}, "model": {"1": 0.25, "2": 0.75}, "truth": {"1": 0.5, "2": 0.25}},
        "miou": 0.5,
        "iou": {"1": 0.5, "2": 0.5},
    }


def test_without_truth_and_without_a_decided_pixel_json_can_hold_it() -> None:
    found = frame_numbers(MAPS, np.full_like(PSEUDO, 255), MODEL, CONFIDENCE, None, 3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["masks_model"] is None
    assert found["open"] == 1
    assert not {"miou", "iou"} & set(found)


def test_an_unknown_truth_is_a_truth_without_a_measure() -> None:
    found = frame_numbers(MAPS, PSEUDO, MODEL, CONFIDENCE, np.full_like(TRUTH, 255), 3)
    assert found["miou"] is None
    assert found["iou"] == {}
