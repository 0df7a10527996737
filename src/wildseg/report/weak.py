"""One sheet per frame: its boxes, points and scribbles over the frame, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from wildseg.classes import IGNORE, palette
from wildseg.report.drawing import FAINT, GAP, INK, PANEL, PAPER, fitted, legend, line, panel_size, row

COLUMNS = 4
DOT = 4  # radius of a point, in pixels of the sheet


def draw(
    title: str, image: np.ndarray, boxes: np.ndarray, points: np.ndarray, scribbles: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Draw a sheet: (height, width, 3) uint8 RGB.

    Args:
        title: of the sheet.
        image: (H, W, 3) uint8 RGB.
        boxes: (m, 6): x0, y0, x1, y1 without the last column and row, id, score.
        points: (n, 3): x, y, id.
        scribbles: (H, W) uint8 ids, 255 where there is none.
        names: by id, ``names[0]`` is the background.
    """
    width = COLUMNS * PANEL + (COLUMNS + 1) * GAP
    size = panel_size(image.shape[:2], COLUMNS, width)
    shown = {*boxes[:, 4].astype(int).tolist(), *points[:, 2].astype(int).tolist(), *np.unique(scribbles).tolist()}
    panels = [
        ("frame", image),
        (f"boxes: {len(boxes)}", _with_boxes(image, boxes, size)),
        (f"points: {len(points)}", _with_points(image, points, size)),
        (f"scribbles: {np.mean(scribbles != IGNORE):.1%} of pixels", _with_scribbles(image, scribbles)),
    ]
    known = f"    {len(shown - {0, IGNORE})} classes"
    return np.concatenate([
        line([(title, INK), (known, FAINT)], width, size=20),
        row(panels, COLUMNS, width),
        legend(sorted(shown - {IGNORE}), names, width),
    ])  # fmt: skip


def _with_boxes(image: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    canvas, scale = _canvas(image, size)
    pen = ImageDraw.Draw(canvas)
    for x0, y0, x1, y1, value, score in boxes[boxes[:, 5].argsort(kind="stable")].tolist():
        place = [round(x0 * scale[0]), round(y0 * scale[1]), round(x1 * scale[0]) - 1, round(y1 * scale[1]) - 1]
        if place[0] <= place[2] and place[1] <= place[3]:
            pen.rectangle(place, outline=_colour(value), width=2)
            pen.text((place[0] + 4, place[1] + 2), f"{score:.2f}", _colour(value), stroke_width=1, stroke_fill=INK)
    return np.asarray(canvas)


def _with_points(image: np.ndarray, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    canvas, scale = _canvas(image, size)
    pen = ImageDraw.Draw(canvas)
    for x, y, value in points.tolist():
        centre = (x + 0.5) * scale[0], (y + 0.5) * scale[1]
        pen.circle(centre, DOT + 1, fill=PAPER)
        pen.circle(centre, DOT, fill=_colour(value))
    return np.asarray(canvas)


def _with_scribbles(image: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    faded = (image // 2 + 64).astype(np.uint8)  # so that thin lines stand out
    return np.where((scribbles == IGNORE)[..., None], faded, palette()[scribbles])


def _canvas(image: np.ndarray, size: tuple[int, int]) -> tuple[Image.Image, tuple[float, float]]:
    return Image.fromarray(fitted(image, size)), (size[0] / image.shape[1], size[1] / image.shape[0])


def _colour(value: float) -> tuple[int, int, int]:
    red, green, blue = palette()[int(value)].tolist()
    return red, green, blue
