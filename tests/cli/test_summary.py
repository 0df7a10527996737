from pathlib import Path

import pytest

from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts
from wildseg.cli import summary
from wildseg.core.errors import DataError
from wildseg.core.files import save_json

LEVELS = {
    "labels": {"f1": 0.94, "always_f1": 0.81},
    "cam": {"miou": 0.68},
    "pseudo": {"miou": 0.734, "coverage": 0.9},
    "segmenter": {"miou": 0.66, "recall": 0.7, "iou.lawn": 0.8, "iou.red_brick_path": None},
}


def test_every_level_and_class_has_a_line() -> None:
    lines = summary.text({**LEVELS, "unseen": LEVELS}).splitlines()
    assert lines[0].split() == ["seen", "sources", "held-out", "sources"]
    assert any(line.split() == ["pseudo", "masks", "mIoU", "0.734", "0.734"] for line in lines)
    assert any(line.split() == ["of", "every", "class", "always", "0.810", "0.810"] for line in lines)
    assert any(line.split() == ["red_brick_path", "-", "-"] for line in lines)


def test_classes_that_were_held_out_have_lines_of_their_own() -> None:
    assert "unseen" not in summary.text({**LEVELS, "unseen": LEVELS})
    apart = {"miou_seen_classes": 0.5, "miou_unseen_classes": 0.25, "miou_harmonic": 1 / 3}
    found = {**LEVELS, "segmenter": {**LEVELS["segmenter"], **apart}, "unseen": None}
    lines = [line.split() for line in summary.text(found).splitlines()]
    assert ["on", "unseen", "classes", "0.250"] in lines
    assert ["harmonic", "mean", "0.333"] in lines


def test_without_unseen_sources_there_is_no_column_for_them() -> None:
    assert "held-out" not in summary.text({**LEVELS, "unseen": None})


def test_without_truth_every_value_is_a_dash() -> None:
    nothing = {level: dict.fromkeys(values) for level, values in LEVELS.items()}
    values = [line.split()[-1] for line in summary.text(nothing).splitlines()[1:8]]
    assert values == ["-"] * 7


def test_what_needs_no_truth_has_lines_where_it_was_measured() -> None:
    assert "Without truth" not in summary.text({**LEVELS, "unseen": LEVELS})
    measures = {"estimated_miou": 0.7, "flip.miou": 0.81, "confident": None}
    found = {**LEVELS, "label_free": measures, "unseen": {**LEVELS, "label_free": {**measures, "flip.miou": None}}}
    lines = [line.split() for line in summary.text(found).splitlines()]
    start = lines.index(["Without", "truth"])
    assert lines[start - 1 : start + 5] == [
        [],
        ["Without", "truth"],
        ["model", "mIoU,", "estimated", "0.700", "0.700"],
        ["flip", "consistency", "0.810", "-"],
        [],
        ["IoU", "of", "the", "model"],
    ]


def test_it_says_where_pictures_and_runs_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    artifacts = Artifacts(tmp_path)
    save_json(artifacts.metrics_path("eval.json"), {**LEVELS, "unseen": None})
    save_json(artifacts.metrics_path("headline.json"), {"miou": None, "coverage": 0.98125})
    (tmp_path / "mlflow.db").touch()
    summary.show(artifacts, tiny_run.params())
    printed = capsys.readouterr().out
    assert "\npseudo masks decide 98.1% of all pixels\n" in printed  # known without truth, too
    assert "metrics/eval/pictures" in printed
    assert "metrics/report/index.html" in printed
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in printed


def test_before_the_first_run_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"eval.json: expected a JSON file"):
        summary.show(Artifacts(tmp_path), tiny_run.params())
