"""A comparison as files and as text."""

from __future__ import annotations

import json
from pathlib import Path

from wildseg.core.tables import load_table
from wildseg.report.method_table import COLUMNS, Row, lines, save

GRADCAM = Row("gradcam", "none", 12, 0.61775, 0.74, 0.0512345, 1.5, 40.25, 30.0)
REFINED = Row("gradcam", "caa", 12, 0.5, 0.6, 0.1, 3.0, 140.0, 30.0)
CAM = Row("cam", "none", 12, note="it cannot be asked, for a reason")
BETTER = Row("scorecam", "none", 12, 0.7, 0.8, 60.0, 200.0, 300.0, 30.0)


def test_a_row_that_could_not_be_measured_has_empty_cells_nulls_and_a_reason(tmp_path: Path) -> None:
    save(tmp_path, [GRADCAM, REFINED, CAM])
    table = load_table(tmp_path / "table.csv", COLUMNS)
    assert [row["name"] for row in table] == ["gradcam", "gradcam + caa", "cam"]
    assert (table[0]["miou"], table[0]["seconds"], table[0]["note"]) == ("0.6178", "0.05123", "")
    assert [table[2][column] for column in ("miou", "seconds", "memory_mib", "note")] == ["", "", "", CAM.note]
    metrics = json.loads((tmp_path / "methods.json").read_text())
    assert metrics["gradcam"]["caa"] == {"miou": 0.5, "seconds": 0.1, "forwards": 3.0, "memory_mib": 140.0}
    assert metrics["cam"]["none"] == dict.fromkeys(metrics["gradcam"]["caa"])


def test_the_best_comes_first_in_text_and_a_reason_is_said_once() -> None:
    text = lines([GRADCAM, CAM, REFINED, BETTER, Row("cam", "caa", 12, note=CAM.note)])
    assert [line.split("  ")[0] for line in text] == [
        "",
        "scorecam",
        "gradcam",
        "gradcam + caa",
        f"cam, cam + caa: {CAM.note}",
    ]
    assert len({len(line) for line in text[:4]}) == 1
