"""The headline: the few numbers by which runs are compared, the metric of the pipeline for DVC and MLflow.

All else that is measured is in tables and JSON files that are no metrics: a column for each would hide these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Headline:
    """The headline in the order of its columns; every number is in [0, 1], None where it was not measured.

    Names have at most 14 letters, or a row of DVC's table of experiments has no room for what was changed.

    Attributes:
        miou: of the model, on the test split of seen sources.
        miou_held_out: of the model, on sources of which it was trained on no frame.
        recall: of the model, on the test split of seen sources.
        miou_pseudo: of the pseudo masks on seen sources, without the pixels that they leave open: see `coverage`.
        miou_cam: of the activation maps on seen sources.
        f1_labels: of the image labels on seen sources, over all frames and classes.
        miou_estimated: of the model on seen sources, without truth: see `wildseg.metrics.expected_iou`.
        coverage: the share of pixels of all frames that pseudo masks decide; needs no truth.
    """

    miou: float | None = None
    miou_held_out: float | None = None
    recall: float | None = None
    miou_pseudo: float | None = None
    miou_cam: float | None = None
    f1_labels: float | None = None
    miou_estimated: float | None = None
    coverage: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """Return the numbers by name, in order."""
        return asdict(self)


def headline(levels: Mapping[str, Any], coverage: float | None) -> Headline:
    """Return the headline of a run.

    Args:
        levels: measures of seen sources by level, and of held-out ones under ``unseen``, None where there are none: see
            `wildseg.metrics.groups.report`.
        coverage: of the pseudo masks of all frames, None where it is not known.
    """

    def measured(group: Mapping[str, Any] | None, level: str, name: str) -> float | None:
        value = ((group or {}).get(level) or {}).get(name)
        return float(value) if value is not None and math.isfinite(value) else None

    return Headline(
        miou=measured(levels, "segmenter", "miou"),
        miou_held_out=measured(levels.get("unseen"), "segmenter", "miou"),
        recall=measured(levels, "segmenter", "recall"),
        miou_pseudo=measured(levels, "pseudo", "miou"),
        miou_cam=measured(levels, "cam", "miou"),
        f1_labels=measured(levels, "labels", "f1"),
        miou_estimated=measured(levels, "label_free", "estimated_miou"),
        coverage=coverage,
    )
