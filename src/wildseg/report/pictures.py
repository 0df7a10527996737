"""One page per frame: the frame, what was said to be in it, the maps, the pseudo mask, the model's answer, the truth.

The same arrays give the same bytes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wildseg.core.classes import IGNORE
from wildseg.report.drawing import FAINT, GAP, INK, PANEL, coloured, heated, legend, line, row

MAPS_IN_A_ROW = (5, 8)  # at least, so that they are not larger than the panels; at most, so that they are readable
RIGHT, WRONG = (20, 120, 50), (190, 30, 40)


@dataclass(frozen=True)
class Label:
    """The label of one class: its index from 0, its score if there is one, and its truth if that is known."""

    index: int
    score: float | None
    present: bool
    in_truth: bool | None


@dataclass(frozen=True)
class Page:
    """All that is shown of a frame.

    image: (H, W, 3) uint8 RGB; pseudo, prediction, truth: (H, W) uint8 ids, `truth` None where there is none.
    classes: (K,) indices from 0; maps: (K, H, W) float in [0, 1].
    """

    title: str
    image: np.ndarray
    labels: Sequence[Label]
    classes: np.ndarray
    maps: np.ndarray
    pseudo: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None


def draw(page: Page, names: Sequence[str], palette: np.ndarray) -> np.ndarray:
    """Draw a page: (height, width, 3) uint8 RGB.

    Args:
        page: what is shown.
        names: by id, ``names[0]`` is the background.
        palette: (256, 3) uint8 RGB by id.
    """
    width = 4 * PANEL + 5 * GAP
    shown = [ids for ids in (page.pseudo, page.prediction, page.truth) if ids is not None]
    parts = [
        line([(page.title, INK)], width, size=20),
        line(_sentence(page.labels, names), width),
        row(_large_panels(page, palette), 4, width),
        legend(sorted({int(value) for ids in shown for value in np.unique(ids)}), names, palette, width),
        *_map_rows(page, names, width),
    ]
    return np.concatenate(parts)


def _large_panels(page: Page, palette: np.ndarray) -> list[tuple[str, np.ndarray]]:
    empty = np.full_like(page.image, 235)
    truth = ("truth", coloured(page.truth, page.image, palette)) if page.truth is not None else ("no truth", empty)
    return [
        ("frame", page.image),
        (f"pseudo mask{_score(page.pseudo, page.truth)}", coloured(page.pseudo, page.image, palette)),
        (f"model{_score(page.prediction, page.truth)}", coloured(page.prediction, page.image, palette)),
        truth,
    ]


def _map_rows(page: Page, names: Sequence[str], width: int) -> list[np.ndarray]:
    panels = [
        (f"map: {names[index + 1]}", heated(heat, page.image))
        for index, heat in zip(page.classes, page.maps, strict=True)
    ]
    if not panels:
        return []
    fewest, most = MAPS_IN_A_ROW
    rows = math.ceil(len(panels) / most)
    columns = max(fewest, math.ceil(len(panels) / rows))  # rows of nearly equal length
    return [row(panels[start : start + columns], columns, width) for start in range(0, len(panels), columns)]


def _sentence(labels: Sequence[Label], names: Sequence[str]) -> list[tuple[str, tuple[int, int, int]]]:
    # Green: named and there. Red: named and not there, or there and not named. Black: the truth does not say.
    words = [("labels: ", FAINT)]
    for label in labels:
        name = names[label.index + 1]
        if label.present:
            score = "" if label.score is None else f" {label.score:.2f}"
            colour = INK if label.in_truth is None else RIGHT if label.in_truth else WRONG
            words.append((f"{'wrong: ' if label.in_truth is False else ''}{name}{score}    ", colour))
        elif label.in_truth:
            words.append((f"missed: {name}    ", WRONG))
    return words if len(words) > 1 else [*words, ("none", INK)]


def _score(ids: np.ndarray, truth: np.ndarray | None) -> str:
    known = None if truth is None else truth != IGNORE
    if known is None or not known.any():
        return ""
    return f", {np.mean(ids[known] == truth[known]):.0%} of pixels right"  # type: ignore[index]
