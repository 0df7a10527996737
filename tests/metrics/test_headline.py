import json

import numpy as np
import pytest

from wildseg.metrics.groups import report, split_groups
from wildseg.metrics.headline import Headline, headline

MODEL = {"miou": 0.7, "recall": 0.8}
GROUP = {"labels": {"f1": 0.9}, "cam": {"miou": 0.5}, "pseudo": {"miou": 0.6}, "segmenter": MODEL,
         "label_free": {"estimated_miou": 0.65}}  # fmt: skip


def test_every_number_has_its_place() -> None:
    levels = {**GROUP, "unseen": {**GROUP, "segmenter": {"miou": 0.4, "recall": 0.3}}}
    assert headline(levels, 0.95).as_dict() == {
        "miou": 0.7,
        "miou_held_out": 0.4,
        "recall": 0.8,
        "miou_pseudo": 0.6,
        "miou_cam": 0.5,
        "f1_labels": 0.9,
        "miou_estimated": 0.65,
        "coverage": 0.95,
    }


def test_what_was_not_measured_is_null_and_never_nan() -> None:
    nothing = {level: dict.fromkeys(values, float("nan")) for level, values in GROUP.items()}
    found = headline({**nothing, "unseen": None}, 0.5)
    assert found == Headline(coverage=0.5)
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["miou"] is None


def test_it_reads_the_report_of_counted_frames() -> None:
    """Two classes on a row of four pixels, half of which the model has right: IoU 1/3 each."""

    class Frame:
        source, split = "drive", "test"

    class Seen(Frame):
        split = "train"

    seen, held_out = split_groups([Frame(), Seen()], ["lawn", "road"], background=False)
    truth, answer = np.array([[1, 1, 2, 2]]), np.array([[1, 2, 1, 2]])
    seen.levels.segmenter.add(truth, answer)
    found = headline(report(seen, held_out), None)
    assert found.miou == pytest.approx(1 / 3)
    assert found.recall == pytest.approx(1 / 2)
    assert found.miou_held_out is None


def test_the_columns_of_a_table_of_experiments_fit_beside_what_was_changed() -> None:
    """Experiment and time take 50 columns, a parameter 25, of a terminal of 160; a number is as wide as its name."""
    names = list(Headline().as_dict())
    assert len(names) <= 8
    assert max(map(len, names)) <= 14
    # Its name or seven digits, and what separates columns.
    assert sum(max(7, len(name)) + 3 for name in names) <= 160 - 50 - 25 + 18  # labels and coverage do not change then
