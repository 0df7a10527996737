"""What one frame says of the model without truth: consistency of its views, confidence, expected counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.masks import PseudoMasks
from wildseg.execution.result_store import Entry
from wildseg.metrics.consistency import pair_counts
from wildseg.metrics.expected_iou import pixel_statistics
from wildseg.metrics.label_free import CONFIDENT, FLIP, SCALE
from wildseg.stages.eval.task import PredictTask

PIXELS = 20_000  # of a frame, at most about, on a regular grid, whose probabilities are tempered
UNIT = 1000  # expected counts are stored as whole thousandths: short, and their sums are exact


@dataclass
class LabelFreeTask(PredictTask):
    """Counts of a frame, as a record of plain lists."""

    store = "label_free"

    def inputs(self, item: str) -> tuple[bytes, ...]:
        """Return the bytes of the frame and of its pseudo mask."""
        return *super().inputs(item), PseudoMasks(self.root).mask_bytes(item)

    def outputs(self, item: str) -> dict[str, Path]:  # noqa: ARG002
        """Return nothing: all is in the record."""
        return {}

    def compute(self, item: str) -> Entry:
        """Return the record of one frame."""
        from wildseg.segment.consistency import views_of

        image, mask = KeyFrames(self.root).load_image(item), PseudoMasks(self.root).load_mask(item)
        views = views_of(self.predictor, image, self.params)
        number = len(self.class_names) + 1
        step = max(1, math.ceil(math.sqrt(mask.size / PIXELS)))
        grid = slice(step // 2, None, step)
        pixels = views.probabilities[:, grid, grid].reshape(number, -1)
        ids = self.predictor.ids.cpu().numpy()
        expected = pixel_statistics(pixels, mask[grid, grid].ravel(), ids) * step**2
        record = {
            FLIP: pair_counts(views.plain, views.mirrored, number).tolist(),
            SCALE: pair_counts(views.plain, views.scaled, number).tolist(),
            "confident": [int((views.probabilities.max(axis=0) >= CONFIDENT).sum()), mask.size],
            "expected": np.rint(expected * UNIT).astype(np.int64).tolist(),
        }
        return Entry(record)
