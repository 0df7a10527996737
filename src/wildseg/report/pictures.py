"""One page per frame: the frame, what was said to be in it, the maps, the pseudo mask, the model's answer, the truth.

Drawn with Pillow and the font it brings along, so that the same arrays give the same bytes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wildseg.classes import BACKGROUND, IGNORE, palette

PANEL = 320  # longest side of the four large panels, in pixels
MAPS_IN_A_ROW = (5, 8)  # at least, so that they are not larger than the panels; at most, so that they are readable
GAP = 12
CAPTION = 24  # height of a line of text
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 34), (120, 120, 126)
RIGHT, WRONG = (20, 120, 50), (190, 30, 40)

# Dark to bright in even steps of lightness, the idea of matplotlib's "inferno": black, violet, red, orange, cream.
HEAT = np.array([(6, 4, 24), (84, 20, 110), (186, 54, 86), (246, 140, 44), (252, 250, 180)], np.float32)


@dataclass(frozen=True)
class Label:
    """What was said of one class: its index from 0, its score if there is one, and what is true if that is known."""

    index: int
    score: float | None
    present: bool
    truly: bool | None


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


def draw(page: Page, names: Sequence[str]) -> np.ndarray:
    """Draw a page: (height, width, 3) uint8 RGB.

    Args:
        page: what is shown.
        names: by id, ``names[0]`` is the background.
    """
    width = 4 * PANEL + 5 * GAP
    shown = [ids for ids in (page.pseudo, page.prediction, page.truth) if ids is not None]
    parts = [
        _line([(page.title, INK)], width, size=20),
        _line(_sentence(page.labels, names), width),
        _row(_large_panels(page), 4, width),
        _legend(sorted({int(value) for ids in shown for value in np.unique(ids)}), names, width),
        *_map_rows(page, names, width),
    ]
    return np.concatenate(parts)


def _large_panels(page: Page) -> list[tuple[str, np.ndarray]]:
    empty = np.full_like(page.image, 235)
    truth = ("truth", _coloured(page.truth, page.image)) if page.truth is not None else ("no truth", empty)
    return [
        ("frame", page.image),
        (f"pseudo mask{_score(page.pseudo, page.truth)}", _coloured(page.pseudo, page.image)),
        (f"model{_score(page.prediction, page.truth)}", _coloured(page.prediction, page.image)),
        truth,
    ]


def _map_rows(page: Page, names: Sequence[str], width: int) -> list[np.ndarray]:
    panels = [
        (f"map: {names[index + 1]}", _heated(heat, page.image))
        for index, heat in zip(page.classes, page.maps, strict=True)
    ]
    if not panels:
        return []
    fewest, most = MAPS_IN_A_ROW
    rows = math.ceil(len(panels) / most)
    columns = max(fewest, math.ceil(len(panels) / rows))  # rows of nearly equal length
    return [_row(panels[start : start + columns], columns, width) for start in range(0, len(panels), columns)]


def _sentence(labels: Sequence[Label], names: Sequence[str]) -> list[tuple[str, tuple[int, int, int]]]:
    # Green: named and there. Red: named and not there, or there and not named. Black: the truth does not say.
    words = [("labels: ", FAINT)]
    for label in labels:
        name = names[label.index + 1]
        if label.present:
            score = "" if label.score is None else f" {label.score:.2f}"
            colour = INK if label.truly is None else RIGHT if label.truly else WRONG
            words.append((f"{'wrong: ' if label.truly is False else ''}{name}{score}    ", colour))
        elif label.truly:
            words.append((f"missed: {name}    ", WRONG))
    return words if len(words) > 1 else [*words, ("none", INK)]


def _score(ids: np.ndarray, truth: np.ndarray | None) -> str:
    known = None if truth is None else truth != IGNORE
    if known is None or not known.any():
        return ""
    return f", {np.mean(ids[known] == truth[known]):.0%} of pixels right"  # type: ignore[index]


def _coloured(ids: np.ndarray, image: np.ndarray) -> np.ndarray:
    # A little of the frame's light shines through, so that one sees what a region is of.
    light = image.mean(axis=2, keepdims=True)
    mixed = 0.8 * palette()[ids] + 0.2 * light
    return np.where(ids[..., None] == IGNORE, palette()[IGNORE], mixed).round().astype(np.uint8)


def _heated(heat: np.ndarray, image: np.ndarray) -> np.ndarray:
    position = np.clip(heat, 0, 1) * (len(HEAT) - 1)
    stops = np.arange(len(HEAT))
    colour = np.stack([np.interp(position, stops, HEAT[:, channel]) for channel in range(3)], axis=-1)
    light = image.mean(axis=2, keepdims=True)
    return (0.75 * colour + 0.25 * light).round().astype(np.uint8)


def _row(panels: Sequence[tuple[str, np.ndarray]], columns: int, width: int) -> np.ndarray:
    """Lay captioned images side by side; images: (H, W, 3) uint8 of one size."""
    cell = (width - (columns + 1) * GAP) // columns
    height, across = panels[0][1].shape[:2]
    scale = min(cell / across, PANEL / height)
    size = (max(1, round(across * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (width, CAPTION + size[1] + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    for column, (caption, pixels) in enumerate(panels):
        left = GAP + column * (cell + GAP)
        pen.text((left, 3), _fitting(caption, cell), INK, _font(14))
        # Nearest when enlarging keeps class colours pure; averaging when shrinking keeps thin things visible.
        how = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
        canvas.paste(Image.fromarray(pixels).resize(size, how), (left, CAPTION))
    return np.asarray(canvas)


def _line(words: Sequence[tuple[str, tuple[int, int, int]]], width: int, size: int = 14) -> np.ndarray:
    """Write coloured words, in as many lines as they need."""
    positions, x, y = [], float(GAP), 0
    for word, _ in words:
        if x > GAP and x + _font(size).getlength(word) > width - GAP:
            x, y = float(GAP), y + size + 8
        positions.append((x, y))
        x += _font(size).getlength(word)
    canvas = Image.new("RGB", (width, y + size + 14), PAPER)
    pen = ImageDraw.Draw(canvas)
    for (x, y), (word, colour) in zip(positions, words, strict=True):
        pen.text((x, y + 6), word, colour, _font(size))
    return np.asarray(canvas)


def _legend(ids: Sequence[int], names: Sequence[str], width: int) -> np.ndarray:
    """Draw a square of colour and the name for each of `ids`."""
    texts = [(value, "ignored" if value == IGNORE else names[value]) for value in ids]
    positions, x, y = [], GAP, 0
    for _, text in texts:
        wanted = 24 + round(_font(14).getlength(text)) + 18
        if x > GAP and x + wanted > width - GAP:
            x, y = GAP, y + CAPTION
        positions.append((x, y))
        x += wanted
    canvas = Image.new("RGB", (width, y + CAPTION + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    for (x, y), (value, text) in zip(positions, texts, strict=True):
        pen.rectangle((x, y + 3, x + 16, y + 19), tuple(map(int, palette()[value])), FAINT)
        pen.text((x + 24, y + 3), text, INK if value not in (BACKGROUND, IGNORE) else FAINT, _font(14))
    return np.asarray(canvas)


def _fitting(text: str, width: int) -> str:
    if _font(14).getlength(text) <= width:
        return text
    while text and _font(14).getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
