"""Masks as CVAT has them, "CVAT for images 1.1": one XML file, a ``mask`` element a frame and class.

``rle`` has the run lengths of the rows of a rectangle, the first of pixels outside (docs.cvat.ai, XML annotation
format). Regions of a larger ``z_order``, and of these the later ones, lie on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from wildseg.core.errors import DataError
from wildseg.core.files import load_bytes
from wildseg.core.text import shorten
from wildseg.exchange import rle, xml
from wildseg.exchange.coco import LARGEST_SIDE
from wildseg.exchange.polygons import fill
from wildseg.exchange.regions import FrameRegions, LabelledFrame, Region, RegionFile, split

AREAS = ("mask", "polygon")
NO_AREAS = {"box": "boxes", "polyline": "polylines", "points": "points", "ellipse": "ellipses", "cuboid": "cuboids",
            "skeleton": "skeletons", "tag": "tags"}  # fmt: skip


def encode(frames: Iterable[LabelledFrame], names: Mapping[int, str], palette: np.ndarray) -> Iterator[str]:
    """Yield the lines of a file; arguments as of `wildseg.exchange.coco_masks.encode`."""
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield "<annotations>"
    yield "  <version>1.1</version>"
    yield "  <meta><task><labels>"
    for id_, name in names.items():
        colour = "#{:02x}{:02x}{:02x}".format(*palette[id_].tolist())
        yield f"    <label><name>{_text(name)}</name><color>{colour}</color><type>mask</type><attributes/></label>"
    yield "  </labels></task></meta>"
    for number, frame in enumerate(frames):
        height, width = frame.ids.shape
        yield f'  <image id="{number}" name={quoteattr(frame.file)} width="{width}" height="{height}">'
        for region in split(frame.ids, names):
            counts = ", ".join(map(str, rle.counts_of(region.mask.ravel()).tolist()))
            rows, columns = region.mask.shape
            yield (
                f'    <mask label={quoteattr(region.name)} source="auto" occluded="0" rle="{counts}" '
                f'left="{region.left}" top="{region.top}" width="{columns}" height="{rows}" z_order="0"></mask>'
            )
        yield "  </image>"
    yield "</annotations>"


def labels(names: Mapping[int, str], palette: np.ndarray) -> list[dict[str, object]]:
    """Return the labels of a task, as CVAT's constructor of labels takes them under "Raw"."""
    return [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*palette[id_].tolist()), "type": "any", "attributes": []}
        for id_, name in names.items()
    ]


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def read(path: Path) -> RegionFile:
    """Read the regions of a file: masks and polygons; other shapes are counted.

    Raises:
        DataError: it is missing or malformed, of a video, or an image occurs twice.
    """
    root = xml.parse(path, load_bytes(path))
    if root.tag != "annotations" or root.find("track") is not None:
        found = "tracks of a video" if root.tag == "annotations" else repr(shorten(root.tag, 40))
        raise DataError(f"{path}: expected the format 'CVAT for images 1.1', found {found}; export the task in it")
    frames: dict[str, FrameRegions] = {}
    skipped: dict[str, int] = {}
    for image in root.iter("image"):
        file = image.get("name") or ""
        if not file or file in frames:
            raise DataError(f"{path}: expected images with names of their own, found {file!r}")
        shape = _whole(path, image, "height", 1), _whole(path, image, "width", 1)
        shapes = sorted((one for one in image if one.tag in AREAS), key=partial(_order, path))
        for kind in (NO_AREAS[one.tag] for one in image if one.tag in NO_AREAS):
            skipped[kind] = skipped.get(kind, 0) + 1
        frames[file] = FrameRegions(file, shape, partial(_regions, path, file, shape, shapes))
    return RegionFile(tuple(frames.values()), skipped)


def _order(path: Path, element: ElementTree.Element) -> int:
    text = element.get("z_order") or "0"
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{path}: expected a whole number as z_order, found {shorten(text, 40)!r}") from error


def _whole(path: Path, element: ElementTree.Element, key: str, least: int) -> int:
    text = element.get(key) or ""
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if not least <= value <= LARGEST_SIDE:
        raise DataError(f"{path}: expected a number of pixels as {key!r} of {element.tag!r}, found "
                        f"{shorten(text, 40)!r}")  # fmt: skip
    return value


def _regions(path: Path, file: str, shape: tuple[int, int], shapes: Sequence[ElementTree.Element]) -> Iterator[Region]:
    for element in shapes:
        name = element.get("label") or ""
        try:
            if element.tag == "polygon":
                yield Region(name, fill([_corners(element.get("points") or "")], shape))
                continue
            top, left = (_whole(path, element, key, 0) for key in ("top", "left"))
            height, width = (_whole(path, element, key, 1) for key in ("height", "width"))
            if top + height > shape[0] or left + width > shape[1]:
                raise ValueError(f"it reaches from {left}, {top} to {left + width}, {top + height}")
            counts = [int(part) for part in (element.get("rle") or "").split(",")]
            yield Region(name, rle.pixels_of(counts, height * width).reshape(height, width), top, left)
        except (ValueError, OverflowError) as error:
            raise DataError(f"{path}: expected a {element.tag} of {name!r} inside of {file!r}, {shape[1]}x{shape[0]} "
                            f"({shorten(str(error), 120)})") from error  # fmt: skip


def _corners(text: str) -> np.ndarray:
    corners = np.array([[float(part) for part in pair.split(",")] for pair in text.split(";")], np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError("expected three corners x,y or more")
    return corners
