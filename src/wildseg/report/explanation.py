"""One sheet per frame and class: the prediction, the target pixels, and the maps of each layer.

Layers stand side by side, in the order of the network: in a decoder from coarse to fine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from wildseg.report.drawing import FAINT, GAP, INK, PANEL, coloured, fitted, heated, legend, line, panel_size, row

LAYERS_IN_A_ROW = 6
WIDTH = 4 * PANEL + 5 * GAP
LEGEND = "Bright is evidence for the class. After a layer's name: the size of its grid relative to the frame."
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SMALL = 6  # in pixels of a panel: narrower regions are ringed rather than outlined


@dataclass(frozen=True)
class Sheet:
    """The contents of a sheet.

    target: the description of the target pixels. image: (H, W, 3) uint8 RGB. prediction: (H, W) uint8 ids.
    probability: (H, W) float in [0, 1], of the class. region: (H, W) float in [0, 1], the target pixels.
    layers: the caption of each. strips: rows with one picture per layer.
    """

    title: str
    target: str
    class_id: int
    image: np.ndarray
    prediction: np.ndarray
    probability: np.ndarray
    region: np.ndarray
    layers: Sequence[str]
    strips: Sequence[Strip]


@dataclass(frozen=True)
class Strip:
    """A heading, its interpretation in a sentence, and one picture per layer.

    pictures: a map (H, W) float in [0, 1], or (H, W, 3) uint8 RGB. notes: appended to each layer's name.
    """

    heading: str
    meaning: str
    pictures: Sequence[np.ndarray]
    notes: Sequence[str]


def draw(sheet: Sheet, names: Sequence[str], palette: np.ndarray) -> np.ndarray:
    """Draw a sheet: (height, width, 3) uint8 RGB.

    Args:
        sheet: its contents.
        names: by id, ``names[0]`` is the background.
        palette: (256, 3) uint8 RGB by id.
    """
    ids = sorted({int(value) for value in np.unique(sheet.prediction)} | {sheet.class_id})
    large = [
        ("frame", sheet.image),
        ("prediction, and the target pixels", coloured(sheet.prediction, sheet.image, palette)),
        (f"probability of {names[sheet.class_id]}", heated(sheet.probability, sheet.image)),
    ]
    parts = [
        line([(sheet.title, INK)], WIDTH, size=20),
        line([(f"{sheet.target}    ", INK), (LEGEND, FAINT)], WIDTH),
        _marked_row(large, 3, sheet.region, unmarked=1),
        legend(ids, names, palette, WIDTH),
    ]
    for strip in sheet.strips:
        parts.append(line([(f"{strip.heading}:  ", INK), (strip.meaning, FAINT)], WIDTH))
        parts += _strip(sheet, strip)
    return np.concatenate(parts)


def _strip(sheet: Sheet, strip: Strip) -> list[np.ndarray]:
    panels = [
        (f"{layer}{note}", picture if picture.ndim == 3 else heated(picture, sheet.image))
        for layer, picture, note in zip(sheet.layers, strip.pictures, strip.notes, strict=True)
    ]
    rows = math.ceil(len(panels) / LAYERS_IN_A_ROW)
    columns = max(3, math.ceil(len(panels) / rows))  # rows of nearly equal length
    return [
        _marked_row(panels[start : start + columns], columns, sheet.region)
        for start in range(0, len(panels), columns)
    ]  # fmt: skip


def _marked_row(
    panels: Sequence[tuple[str, np.ndarray]], columns: int, region: np.ndarray, unmarked: int = 0
) -> np.ndarray:
    """Arrange images side by side, with the region marked on all but the first `unmarked`."""
    size = panel_size(region.shape, columns, WIDTH)
    shown = [(caption, fitted(pixels, size)) for caption, pixels in panels]
    return row([*shown[:unmarked], *((caption, mark(pixels, region)) for caption, pixels in shown[unmarked:])],
               columns, WIDTH)  # fmt: skip


def mark(pixels: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Outline a region in white on black; a very small one gets a ring.

    Args:
        pixels: (h, w, 3) uint8 RGB, the picture to draw on.
        region: (H, W) float of the same picture at another size; above 0.5 is inside.
    """
    inside = region > 0.5
    if not inside.any() or inside.all():
        return pixels
    height, width = pixels.shape[:2]
    down, across = np.nonzero(inside)
    scale = (width / region.shape[1], height / region.shape[0])
    left, right = across.min() * scale[0], (across.max() + 1) * scale[0]
    top, bottom = down.min() * scale[1], (down.max() + 1) * scale[1]
    if right - left < SMALL or bottom - top < SMALL:
        return _ringed(pixels, (left, top, right, bottom))
    large = Image.fromarray(inside).resize((width, height), Image.Resampling.NEAREST)
    return _outlined(pixels, np.asarray(large))


def _outlined(pixels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    # Around it: a thin region would vanish under its own outline.
    near = _grown(inside)
    marked = pixels.copy()
    marked[_grown(near)] = BLACK
    marked[near] = WHITE
    marked[inside] = pixels[inside]
    return marked


def _grown(inside: np.ndarray) -> np.ndarray:
    """Add to a set of pixels, (h, w) bool, the four neighbours of each."""
    wide = np.pad(inside, 1)
    return inside | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]


def _ringed(pixels: np.ndarray, edges: tuple[float, float, float, float]) -> np.ndarray:
    left, top, right, bottom = edges
    canvas = Image.fromarray(pixels)
    pen = ImageDraw.Draw(canvas)
    for grow, colour in ((SMALL, BLACK), (SMALL - 1, WHITE), (SMALL - 2, BLACK)):
        pen.ellipse((left - grow, top - grow, right + grow, bottom + grow), outline=colour)
    return np.asarray(canvas)
