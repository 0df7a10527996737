"""Rows of a comparison that was interrupted."""

from __future__ import annotations

import math
from pathlib import Path

from wildseg.cli.compare.progress import store, stored
from wildseg.report.method_table import Row

GRADCAM = Row("gradcam", "none", 12, 0.61775, 0.74, 0.0512345, 1.5, 40.25, 30.0)
CAM = Row("cam", "none", 12, note="it cannot be asked, for a reason")


def test_a_row_is_found_again_under_its_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    for row in (GRADCAM, CAM):
        store(path, "key", row)
        assert repr(stored(path, "key")) == repr(row)  # repr: no two NaN are equal
        assert stored(path, "other") is None
    found = stored(path, "key")
    assert found is not None
    assert math.isnan(found.miou)
    path.write_text('{"key": "key", "row": {"method": "gradcam"}}')
    assert stored(path, "key") is None
