"""One sheet per frame: boxes, points and scribbles, each drawn on the frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from wildseg.core.classes import IGNORE
from wildseg.report.drawing import FAINT, GAP, INK, PANEL, PAPER, fitted, legend, line, panel_size, row

COLUMNS = 4
DOT = 4  # radius of a point, in pixels of the sheet


def draw(
    title: str,
    image: np.ndarray,
    boxes: np.ndarray,
    points: np.ndarray,
    scribbles: np.ndarray,
    names: Sequence[str],
    palette: np.ndarray,
) -> np.ndarray:
    """Draw a sheet: (height, width, 3) uint8 RGB.

    Args:
        title: of the sheet.
        image: (H, W, 3) uint8 RGB.
        boxes: (m, 6): x0, y0, x1, y1 (exclusive), id, score.
        points: (n, 3): x, y, id.
        scribbles: (H, W) uint8 ids, 255 elsewhere.
        names: by id, ``names[0]`` is the background.
        palette: (256, 3) uint8 RGB by id.
    """
    width = COLUMNS * PANEL + (COLUMNS + 1) * GAP
    size = panel_size(image.shape[:2], COLUMNS, width)
    shown = {*boxes[:, 4].astype(int).tolist(), *points[:, 2].astype(int).tolist(), *np.unique(scribbles).tolist()}
    panels = [
        ("frame", image),
        (f"boxes: {len(boxes)}", _with_boxes(image, boxes, size, palette)),
        (f"points: {len(points)}", _with_points(image, points, size, palette)),
        (f"scribbles: {np.mean(scribbles != IGNORE):.1%} of pixels", _with_scribbles(image, scribbles, size, palette)),
    ]
    known = f"    {len(shown - {0, IGNORE})} classes"
    return np.concatenate([
        line([(title, INK), (known, FAINT)], width, size=20),
        row(panels, COLUMNS, width),
        legend(sorted(shown - {IGNORE}), names, palette, width),
    ])  # fmt: skip


def _with_boxes(image: np.ndarray, boxes: np.ndarray, size: tuple[int, int], palette: np.ndarray) -> np.ndarray:
    canvas, scale = _canvas(image, size)
    pen = ImageDraw.Draw(canvas)
    best_last = boxes[boxes[:, 5].argsort(kind="stable")]
    places = (best_last[:, :4] * np.tile(scale, 2)).round().astype(int) - [0, 0, 1, 1]
    shown = (places[:, 0] <= places[:, 2]) & (places[:, 1] <= places[:, 3])
    for place, value in zip(places[shown].tolist(), best_last[shown, 4], strict=True):
        pen.rectangle(place, outline=_colour(palette, value), width=2)
    taken: list[tuple[float, float, float, float]] = []
    for place, (value, score) in reversed([*zip(places[shown].tolist(), best_last[shown, 4:].tolist(), strict=True)]):
        _label(pen, place, f"{score:.2f}", _colour(palette, value), taken, size)
    return np.asarray(canvas)


def _label(
    pen: ImageDraw.ImageDraw,
    place: Sequence[int],
    text: str,
    colour: tuple[int, int, int],
    taken: list[tuple[float, float, float, float]],
    size: tuple[int, int],
) -> None:
    """Write on a plate in the upper left corner of a box, or below that where there is room, or else nowhere."""
    left, top, right, bottom = pen.textbbox((0, 0), text)
    width, height = right - left + 4, bottom - top + 4
    x = max(0, min(place[0], size[0] - width))
    for y in range(place[1], round(size[1] - height), 2):
        plate = (x, y, x + width, y + height)
        if not any(_overlap(plate, other) for other in taken):
            taken.append(plate)
            pen.rectangle(plate, fill=colour)
            pen.text((x + 2 - left, y + 2 - top), text, PAPER if sum(colour) < 400 else INK)
            return


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _with_points(image: np.ndarray, points: np.ndarray, size: tuple[int, int], palette: np.ndarray) -> np.ndarray:
    canvas, scale = _canvas(image, size)
    pen = ImageDraw.Draw(canvas)
    for x, y, value in points.tolist():
        centre = (x + 0.5) * scale[0], (y + 0.5) * scale[1]
        pen.circle(centre, DOT + 1, fill=PAPER)
        pen.circle(centre, DOT, fill=_colour(palette, value))
    return np.asarray(canvas)


def _with_scribbles(image: np.ndarray, scribbles: np.ndarray, size: tuple[int, int], palette: np.ndarray) -> np.ndarray:
    faded = (image // 2 + 64).astype(np.uint8)  # so that thin lines stand out
    pen = 2 * int(image.shape[1] / size[0] / 2) + 1  # a line shrunk with a large frame would vanish
    shown = scribbles.copy()
    for value in np.unique(scribbles[scribbles != IGNORE]).tolist() if pen > 1 else ():
        grown = np.asarray(Image.fromarray(scribbles == value).convert("L").filter(ImageFilter.MaxFilter(pen))) > 0
        shown[grown & (scribbles == IGNORE)] = value
    return np.where((shown == IGNORE)[..., None], faded, palette[shown])


def _canvas(image: np.ndarray, size: tuple[int, int]) -> tuple[Image.Image, tuple[float, float]]:
    return Image.fromarray(fitted(image, size)), (size[0] / image.shape[1], size[1] / image.shape[0])


def _colour(palette: np.ndarray, value: float) -> tuple[int, int, int]:
    red, green, blue = palette[int(value)].tolist()
    return red, green, blue
