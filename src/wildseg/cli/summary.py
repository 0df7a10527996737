"""`wildseg summary`: the results of the last run, and where its numbers, pictures, model and runs are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from wildseg.artifacts.project import Artifacts
from wildseg.core.files import load_json
from wildseg.core.project_root import project_root
from wildseg.core.text import aligned
from wildseg.execution.params import Params
from wildseg.report.evaluation import APART

ROWS = (  # what, level, measure
    ("labels F1", "labels", "f1"),
    ("  of every class always", "labels", "always_f1"),
    ("maps mIoU", "cam", "miou"),
    ("pseudo masks mIoU", "pseudo", "miou"),
    ("pseudo masks coverage", "pseudo", "coverage"),
    ("model mIoU", "segmenter", "miou"),
    ("model recall", "segmenter", "recall"),
)
LABEL_FREE = (
    ("model mIoU, estimated", "label_free", "estimated_miou"),
    ("  95 % interval, from", "label_free", "estimated_miou_low"),
    ("  to", "label_free", "estimated_miou_high"),
    ("agreement with masks", "label_free", "masks_model.miou"),
    ("agreement with maps", "label_free", "maps_model.miou"),
    ("flip consistency", "label_free", "flip.miou"),
    ("scale consistency", "label_free", "scale.miou"),
    ("next key frame", "label_free", "neighbours.miou"),
    ("confident pixels", "label_free", "confident"),
    ("second labels, kappa", "label_free", "labels.kappa"),
)
HELD_OUT = tuple((f"  {title}", "segmenter", measure) for title, measure in APART)  # where classes were held out
WITHOUT_TRUTH, IOU = "Without truth", "IoU of the model"  # heads of parts
NOTHING = "-"
SEEN = "seen sources"


def show(artifacts: Artifacts, params: Params) -> None:
    """Print the results of the last run.

    Raises:
        DataError: eval has not run.
    """
    metrics = load_json(artifacts.metrics_path("eval.json"))
    cam = params.cam.method + ("" if params.cam.refined_by == "none" else f" + {params.cam.refined_by}")
    method = f"{params.clip.model}, {cam}, {params.train.architecture} with {params.train.encoder}"
    print("\n\n".join((f"{method}{_coverage(artifacts)}", text(metrics), "\n".join(places(artifacts)))))


def text(metrics: Mapping[str, Any]) -> str:
    """Return the content of metrics/eval.json as text: every level, and the model's IoU per class."""
    groups = [metrics, metrics.get("unseen") or {}]
    rows = (*ROWS, *(HELD_OUT if HELD_OUT[0][2] in (metrics.get("segmenter") or {}) else ()))
    levels = [(name, *(_value(group, level, measure) for group in groups)) for name, level, measure in rows]
    known = [(name, *(_value(group, level, measure) for group in groups)) for name, level, measure in LABEL_FREE]
    known = [row for row in known if set(row[1:]) != {NOTHING}]
    without = [(WITHOUT_TRUTH, "", ""), *known] if known else []
    ious = [name for name in metrics.get("segmenter") or {} if name.startswith("iou.")]
    classes = [(name.removeprefix("iou."), *(_value(group, "segmenter", name) for group in groups)) for name in ious]
    # One table for the widths, so that the columns of all parts stand below each other.
    lines = _table([("", SEEN, "held-out sources"), *levels, *without, (IOU, "", ""), *classes])
    for place in sorted({1 + len(levels), 1 + len(levels) + len(without)}, reverse=True):
        lines.insert(place, "")
    return "\n".join(lines)


def places(artifacts: Artifacts) -> list[str]:
    """Return lines with the places of numbers, pictures, model and runs."""
    pictures = artifacts.metrics_path("eval/pictures")
    lines = [
        ("numbers", f"{artifacts.metrics_path('headline.json')}    dvc metrics show, dvc exp show; all in eval.json"),
        ("report", f"{artifacts.report_page}    opens in a browser"),
        ("pictures", f"{pictures} ({len(list(pictures.glob('*.png')))} frames)    dvc plots show"),
        ("model", f"{artifacts.segmenter_folder}"),
    ]
    if not os.environ.get("MLFLOW_TRACKING_URI") and (project_root(artifacts.root) / "mlflow.db").is_file():
        lines.append(("runs", "mlflow ui --backend-store-uri sqlite:///mlflow.db    then open http://127.0.0.1:5000"))
    return aligned(lines, "<")


def _coverage(artifacts: Artifacts) -> str:
    """Return a line on the pseudo masks of all frames, which is known without truth; empty before there are any."""
    path = artifacts.metrics_path("headline.json")
    share = load_json(path).get("coverage") if path.is_file() else None
    return f"\npseudo masks decide {share:.1%} of all pixels" if isinstance(share, (int, float)) else ""


def _value(group: Mapping[str, Any], level: str, measure: str) -> str:
    value = (group.get(level) or {}).get(measure)
    return NOTHING if value is None else f"{value:.3f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    # No column for held-out sources where nothing was measured.
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) - {NOTHING, ""} or column[0] == SEEN]
    return aligned(list(zip(*columns, strict=True)))
