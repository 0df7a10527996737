"""What a finished run says: the table of results, and where to look further."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from wildseg.artifacts.project import Artifacts
from wildseg.core.files import load_json
from wildseg.core.project_root import project_root
from wildseg.execution.params import Params

ROWS = (  # what, level, measure
    ("labels F1", "labels", "f1"),
    ("  of every class always", "labels", "always_f1"),
    ("maps mIoU", "cam", "miou"),
    ("pseudo masks mIoU", "pseudo", "miou"),
    ("pseudo masks coverage", "pseudo", "coverage"),
    ("model mIoU", "segmenter", "miou"),
    ("model recall", "segmenter", "recall"),
)
NOTHING = "-"


def show(artifacts: Artifacts, params: Params) -> None:
    """Print the results of the last run.

    Raises:
        DataError: eval has not run.
    """
    metrics = load_json(artifacts.metrics_path("eval.json"))
    cam = params.cam.method + ("" if params.cam.refine == "none" else f" + {params.cam.refine}")
    made = f"{params.clip.model}, {cam}, {params.train.architecture} with {params.train.encoder}"
    print("\n\n".join((made, text(metrics), "\n".join(places(artifacts)))))


def text(metrics: Mapping[str, Any]) -> str:
    """Return the content of metrics/eval.json as text: every level, and the model's IoU per class."""
    groups = [metrics, metrics.get("unseen") or {}]
    levels = [(name, *(_value(group, level, measure) for group in groups)) for name, level, measure in ROWS]
    ious = [name for name in metrics.get("segmenter") or {} if name.startswith("iou.")]
    classes = [(name.removeprefix("iou."), *(_value(group, "segmenter", name) for group in groups)) for name in ious]
    # One table for the widths, so that the columns of both parts stand below each other.
    lines = _table([("", "drive", "unseen drive"), *levels, ("IoU of the model", "", ""), *classes])
    lines.insert(1 + len(levels), "")
    return "\n".join(lines)


def places(artifacts: Artifacts) -> list[str]:
    """Return lines that say where pictures, numbers and runs are."""
    pictures = artifacts.metrics_path("eval/pictures")
    lines = [
        ("numbers", f"{artifacts.metrics_path('eval.json')}    dvc metrics show, dvc exp show"),
        ("pictures", f"{pictures} ({len(list(pictures.glob('*.png')))} frames)    dvc plots show"),
        ("model", f"{artifacts.segmenter_folder}"),
    ]
    if not os.environ.get("MLFLOW_TRACKING_URI") and (project_root(artifacts.root) / "mlflow.db").is_file():
        lines.append(("runs", "mlflow ui --backend-store-uri sqlite:///mlflow.db    then open http://127.0.0.1:5000"))
    width = max(len(name) for name, _ in lines)
    return [f"{name:<{width}}  {where}" for name, where in lines]


def _value(group: Mapping[str, Any], level: str, measure: str) -> str:
    value = (group.get(level) or {}).get(measure)
    return NOTHING if value is None else f"{value:.3f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    # The first column to the left, numbers to the right; no column for unseen sources where nothing was measured.
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) - {NOTHING, ""} or column[0] == "drive"]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for name, *values in zip(*columns, strict=True):
        cells = [name.ljust(widths[0]), *(value.rjust(width) for value, width in zip(values, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines
