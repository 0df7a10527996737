"""What the page of frames sorts and filters a frame by, as plain numbers, from its label images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from wildseg.core.classes import IGNORE
from wildseg.metrics.per_frame import disagreement, frame_ious, id_shares

DIGITS = 4


def frame_numbers(
    maps: np.ndarray,
    pseudo: np.ndarray,
    prediction: np.ndarray,
    confidence: np.ndarray,
    truth: np.ndarray | None,
    num_classes: int,
) -> dict[str, Any]:
    """Return what is measured of one frame, as JSON can hold it; None where something is undefined.

    Args:
        maps: (H, W) uint8 ids that the activation maps decide.
        pseudo: (H, W) uint8 ids of the pseudo mask, 255 where it is undecided.
        prediction: (H, W) uint8 ids that the model predicts.
        confidence: (H, W) in [0, 1], of the pseudo mask.
        truth: (H, W) uint8 ids, None where there is none.
        num_classes: n, background included.

    Returns:
        ``confidence`` its mean; ``open`` the share of undecided pixels; ``masks_model`` and ``maps_model`` the shares
        of pixels on which these disagree; ``shares`` of pixels by id, of ``pseudo``, ``model`` and ``truth``; with a
        truth, of the model, ``miou`` and ``iou`` by id.
    """
    images = {"pseudo": pseudo, "model": prediction} | ({} if truth is None else {"truth": truth})
    numbers: dict[str, Any] = {
        "confidence": rounded(float(confidence.mean())) if confidence.size else None,
        "open": rounded(float(np.mean(pseudo == IGNORE))),
        "masks_model": rounded(disagreement(pseudo, prediction)),
        "maps_model": rounded(disagreement(maps, prediction)),
        "shares": {name: _by_id(id_shares(ids)[:num_classes], above=0) for name, ids in images.items()},
    }
    if truth is not None:
        miou, ious = frame_ious(truth, prediction, num_classes)
        numbers |= {"miou": rounded(miou), "iou": _by_id(ious)}
    return numbers


def rounded(value: float) -> float | None:
    """Return a number with few digits, or None where it is not finite."""
    return round(value, DIGITS) if math.isfinite(value) else None


def _by_id(values: np.ndarray, above: float = -1.0) -> dict[str, float]:
    found = np.flatnonzero(np.isfinite(values) & (values > above))
    return {str(id_): round(float(values[id_]), DIGITS) for id_ in found}
