"""What pictures are put together from: lines of text, rows of captioned images, legends, masks and maps in colour.

Drawn with Pillow and the font it brings along, so that the same arrays give the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wildseg.core.classes import BACKGROUND, IGNORE

PANEL = 320  # longest side of a large panel, in pixels
GAP = 12
CAPTION = 24  # height of a line of text
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 34), (120, 120, 126)

# Dark to bright in even steps of lightness, the idea of matplotlib's "inferno": black, violet, red, orange, cream.
HEAT = np.array([(6, 4, 24), (84, 20, 110), (186, 54, 86), (246, 140, 44), (252, 250, 180)], np.float32)


def coloured(ids: np.ndarray, image: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Show ids (H, W) uint8 in colours (256, 3) uint8 RGB by id over the frame's light: (H, W, 3) uint8 RGB."""
    # A little of the frame's light shines through, so that one sees what a region is of.
    light = image.mean(axis=2, keepdims=True)
    mixed = 0.8 * palette[ids] + 0.2 * light
    return np.where(ids[..., None] == IGNORE, palette[IGNORE], mixed).round().astype(np.uint8)


def overlaid(ids: np.ndarray, image: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Lay colours by id, (256, 3) uint8 RGB, half opaque over an image where ids (H, W) uint8 are no background.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    mixed = ((palette[ids].astype(np.uint16) + image + 1) // 2).astype(np.uint8)
    return np.where(ids[..., None] == BACKGROUND, image, mixed)


def heated(heat: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Show a map (H, W) in [0, 1] from dark to bright over the frame's light: (H, W, 3) uint8 RGB."""
    light = image.mean(axis=2, keepdims=True)
    return (0.75 * heat_colours(heat) + 0.25 * light).round().astype(np.uint8)


def heat_colours(heat: np.ndarray) -> np.ndarray:
    """Return the colours of values (H, W) in [0, 1], from dark to bright: (H, W, 3) float64 in [0, 255]."""
    position, stops = np.clip(heat, 0, 1) * (len(HEAT) - 1), np.arange(len(HEAT))
    return np.stack([np.interp(position, stops, HEAT[:, channel]) for channel in range(3)], axis=-1)


def row(panels: Sequence[tuple[str, np.ndarray]], columns: int, width: int) -> np.ndarray:
    """Lay captioned images side by side; images: (H, W, 3) uint8 of one size."""
    cell = _cell(columns, width)
    size = panel_size(panels[0][1].shape[:2], columns, width)
    canvas = Image.new("RGB", (width, CAPTION + size[1] + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    for column, (caption, pixels) in enumerate(panels):
        left = GAP + column * (cell + GAP)
        pen.text((left, 3), _fitting(caption, cell), INK, _font(14))
        canvas.paste(Image.fromarray(fitted(pixels, size)), (left, CAPTION))
    return np.asarray(canvas)


def panel_size(shape: tuple[int, ...], columns: int, width: int) -> tuple[int, int]:
    """Return the (width, height) at which `row` shows images of shape (H, W)."""
    scale = min(_cell(columns, width) / shape[1], PANEL / shape[0])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def fitted(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image (H, W, 3), or ids (H, W), uint8, as it is shown at `size`, (width, height)."""
    # Nearest when enlarging keeps class colours pure; averaging when shrinking keeps thin things visible.
    how = Image.Resampling.NEAREST if size[0] >= pixels.shape[1] else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def _cell(columns: int, width: int) -> int:
    return (width - (columns + 1) * GAP) // columns


def line(words: Sequence[tuple[str, tuple[int, int, int]]], width: int, size: int = 14) -> np.ndarray:
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


def legend(ids: Sequence[int], names: Sequence[str], palette: np.ndarray, width: int) -> np.ndarray:
    """Draw a square of colour, of (256, 3) uint8 RGB by id, and the name for each of `ids`."""
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
        pen.rectangle((x, y + 3, x + 16, y + 19), tuple(map(int, palette[value])), FAINT)
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
