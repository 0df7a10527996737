"""One truth mask, in any common encoding -> class ids of the size of its frame.

Ids may be stored as palette, grey of 1, 8 or 16 bits, or three equal channels; colours need a map to classes,
see `wildseg.artifacts.truth_maps`. Ids are never interpolated: a mask of another, compatible size is resized by its
nearest pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wildseg.artifacts.truth_maps import UNKNOWN, LabelMap, example
from wildseg.core.classes import IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import open_loose, unreadable
from wildseg.core.images import BROKEN_IMAGE, check_size

STRIP = 2**20  # pixels processed at a time, so that a large mask takes no more memory than itself
SHOWN = 8  # ids or colours that an error lists
# Width of a pixel over its height: the ratios of ITU-T H.264, Table E-1, and those of DV and MPEG-4 video.
PIXEL_ASPECTS = (
    1.0, 12 / 11, 10 / 11, 16 / 11, 40 / 33, 24 / 11, 20 / 11, 32 / 11, 80 / 33, 18 / 11, 15 / 11, 64 / 33, 160 / 99,
    4 / 3, 3 / 2, 2.0, 59 / 54, 118 / 81, 16 / 15, 64 / 45, 8 / 9, 32 / 27,
)  # fmt: skip
# Tolerance of a side against its aspect ratio, since sizes are whole, and often even, numbers.
ROUNDING = 2  # pixels, and
MOST_OFF = 0.015  # this share of the side


@dataclass(frozen=True)
class TruthMask:
    """ids: (H, W) uint8, 0 background, 1..C classes, 255 ignore; `mapped`: by a map; `stored`: (h, w) of the file."""

    ids: np.ndarray
    mapped: bool
    stored: tuple[int, int]


@dataclass(frozen=True)
class DecodedMask:
    """A mask before its values are checked.

    ids: (H, W) uint8; arbitrary where a value is unknown. unknown: pixels of the file by id or packed colour that have
    no meaning. colours: whether those are colours. stored: (h, w) of the file.
    """

    ids: np.ndarray
    unknown: Mapping[int, int]
    colours: bool
    stored: tuple[int, int]


def load(path: Path, label_map: LabelMap | None, class_names: Sequence[str], shape: tuple[int, int]) -> TruthMask:
    """Read a mask as ids of `class_names`, of the size `shape` = (H, W) of its frame.

    Raises:
        DataError: it cannot be read, has colours without a map, values that are not in the map, an id that is neither
            0..C nor 255, or a size that is incompatible with its frame.
    """
    decoded = decode(path, label_map, len(class_names), shape)
    if decoded.unknown:
        alone = decoded.colours and not (label_map and label_map.colours)
        raise (_colours_alone(path, decoded.unknown, label_map, class_names) if alone else
               _unknown(path, decoded.unknown, decoded.colours, label_map, class_names))  # fmt: skip
    return TruthMask(decoded.ids, label_map is not None, decoded.stored)


def decode(path: Path, label_map: LabelMap | None, num_classes: int, shape: tuple[int, int]) -> DecodedMask:
    """Read a mask as ids 0..`num_classes` and 255, of the size `shape` = (H, W) of its frame; see `load`.

    Raises:
        DataError: it cannot be read, or has a size that is incompatible with its frame.
    """
    try:
        with open_loose(path) as stream, Image.open(stream, formats=("PNG", "JPEG")) as image:
            _check_depth(path)
            if image.format == "JPEG":
                raise DataError(f"{path}: expected a PNG, found a JPEG, which changes ids and colours at their edges; "
                                "export the masks as PNG")  # fmt: skip
            check_size(image)
            stored = (image.height, image.width)
            _check_fits(path, stored, shape)
            ids, unknown, colours = _ids(path, image, label_map, num_classes)
    except BROKEN_IMAGE as error:
        raise unreadable(path, "an image of class ids", error) from error
    if stored != shape:
        ids = np.asarray(Image.fromarray(ids).resize(shape[::-1], Image.Resampling.NEAREST))
    return DecodedMask(ids, unknown, colours, stored)


def _ids(
    path: Path, image: Image.Image, label_map: LabelMap | None, num_classes: int
) -> tuple[np.ndarray, dict[int, int], bool]:
    """Return ids (H, W) uint8, the number of pixels of each unknown value, and whether those are colours."""
    by_colour = label_map is not None and not label_map.ids
    values, visible = _values(path, image, colours=by_colour)
    if values.ndim == 3 and not by_colour and _is_grey(values):
        values = values[..., 0]
    if values.ndim == 2:
        table = label_map.id_table if label_map else _own_order(num_classes)
        return (*_look_up(values, table, visible), False)
    if label_map and label_map.colours:
        return (*_look_up(values, label_map.colour_table, visible), True)
    return np.full(values.shape[:2], IGNORE, np.uint8), _counts(values), True


def _values(path: Path, image: Image.Image, *, colours: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return ids (H, W) or colours (H, W, 3) uint8, and the opaque pixels, (H, W) bool or None: all."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        whole = np.asarray(image.convert("RGBA"))
        alpha = whole[..., 3]
        if half := int(((alpha > 0) & (alpha < 255)).sum()):
            raise DataError(f"{path}: expected opaque or fully transparent pixels, found {half} that are half "
                            "transparent; export without anti-aliasing")  # fmt: skip
        return whole[..., :3], alpha == 255
    if image.mode == "F" or image.mode not in ("1", "L", "P", "RGB", "I") and not image.mode.startswith("I;16"):
        raise DataError(f"{path}: expected class ids or colours, found an image of mode {image.mode}")
    if colours and image.mode in ("1", "L", "P"):
        return np.asarray(image.convert("RGB")), None
    values = np.asarray(image)
    if image.mode == "I" and values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise DataError(f"{path}: expected ids from 0 to 65535, found {values.min()} to {values.max()}")
    return values.astype(np.uint8) if image.mode == "1" else values, None


def _strips(values: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of rows, with the id or packed colour of each pixel."""
    rows = max(1, STRIP // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        if part.ndim == 3:
            wide = part.astype(np.int32)
            part = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
        yield slice(start, start + rows), part


def _is_grey(values: np.ndarray) -> bool:
    return bool(np.array_equal(values[..., 0], values[..., 1]) and np.array_equal(values[..., 0], values[..., 2]))


def _look_up(values: np.ndarray, table: np.ndarray, visible: np.ndarray | None) -> tuple[np.ndarray, dict[int, int]]:
    """Return ids (H, W) uint8, and the number of pixels of each value without an entry in the table."""
    ids = np.empty(values.shape[:2], np.uint8)
    unknown: dict[int, int] = {}
    for rows, part in _strips(values):
        found = table[part]
        if visible is not None:
            found = np.where(visible[rows], found, IGNORE)
        ids[rows] = found
        if (lost := found == UNKNOWN).any():
            for value, pixels in zip(*np.unique(part[lost], return_counts=True), strict=True):
                unknown[int(value)] = unknown.get(int(value), 0) + int(pixels)
    return ids, unknown


def _own_order(num_classes: int) -> np.ndarray:
    table = np.full(65536, UNKNOWN, np.int16)
    table[: num_classes + 1] = np.arange(num_classes + 1)
    table[IGNORE] = IGNORE
    return table


def _check_depth(path: Path) -> None:
    # Pillow reads the upper byte of such channels, so that every id would become 0.
    with open_loose(path) as stream:
        header = stream.read(26)
    if header.startswith(b"\x89PNG") and header[24] == 16 and header[25] != 0:
        raise DataError(f"{path}: expected class ids, or colours of 8 bits a channel, found 16 bits a channel; "
                        "export the masks with 8 bits, or ids in one channel")  # fmt: skip


# Sizes ---------------------------------------------------------------------------------------------------------------


def _check_fits(path: Path, stored: tuple[int, int], shape: tuple[int, int]) -> None:
    """Raise a DataError unless a mask of `stored` (h, w) is compatible with a frame of `shape` (H, W).

    Key frames have square pixels, and may be shrunk by extract.max_side: a mask of the video's own size then has the
    frame's shape up to a pixel aspect ratio, at any scale.
    """
    (height, width), (frame_height, frame_width) = stored, shape
    widths = [width * aspect * frame_height / height for aspect in PIXEL_ASPECTS]
    alike = any(abs(one - frame_width) <= min(ROUNDING, MOST_OFF * frame_width) for one in widths)
    if height < frame_height and width < frame_width:  # details are lost, so only an exact fraction is accepted
        alike = frame_height % height == 0 and frame_height * width == frame_width * height
    if alike:
        return
    raise DataError(f"{path}: expected the size of its frame, {frame_width}x{frame_height}, or one that scales to it, "
                    f"found {width}x{height}")  # fmt: skip


# Errors --------------------------------------------------------------------------------------------------------------


def _counts(values: np.ndarray) -> dict[int, int]:
    """Return the number of pixels of each id or packed colour."""
    pixels: dict[int, int] = {}
    for _, part in _strips(values):
        for value, count in zip(*np.unique(part, return_counts=True), strict=True):
            pixels[int(value)] = pixels.get(int(value), 0) + int(count)
    return pixels


def _colours_alone(
    path: Path, pixels: Mapping[int, int], label_map: LabelMap | None, class_names: Sequence[str]
) -> DataError:
    common = sorted(pixels, key=lambda value: -pixels[value])
    where = label_map.path if label_map else path.parent / "classes.json"
    names = [hex_of(value) for value in common]
    return DataError(
        f"{path}: expected class ids, found {len(common)} colours, {_listed(names)}; map each to a class in {where}, "
        f"such as {example(names[:SHOWN], class_names)}"
    )


def _unknown(
    path: Path, unknown: Mapping[int, int], colours: bool, label_map: LabelMap | None, class_names: Sequence[str]
) -> DataError:
    common = sorted(unknown, key=lambda value: -unknown[value]) if colours else sorted(unknown)
    if label_map:
        names = [hex_of(value) for value in common] if colours else common
        kind = "colours" if colours else "ids"
        return DataError(f"{path}: expected the {kind} that {label_map.path.name} names, found {_listed(names)} in "
                         f"{sum(unknown.values())} pixels; map each to a class or ignore there")  # fmt: skip
    return DataError(
        f"{path}: expected ids 0 to {len(class_names)} or {IGNORE}, found [{_listed(common)}]; ids follow the order of "
        f"'classes' in params.yaml, 0 is background; for other ids, or another order, write "
        f"{path.parent / 'classes.json'}: {example(common[:SHOWN], class_names)}, with every id of the masks"
    )


def hex_of(value: int) -> str:
    """Return a packed colour as ``#rrggbb``."""
    return f"#{value:06x}"


def _listed(values: Sequence[object]) -> str:
    more = f", and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(str(value) for value in values[:SHOWN]) + more
