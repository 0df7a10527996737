"""Masks as Label Studio has them: tasks in JSON with brush labels, and the labelling interface that shows them.

Tasks with predictions are imported as pre-annotations; exported tasks ("JSON", not "JSON-MIN") have annotations in the
same form (labelstud.io, "Import pre-annotated data" and "Label Studio JSON format of annotated tasks").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from wildseg.core.errors import DataError
from wildseg.core.files import load_bytes
from wildseg.core.text import shorten
from wildseg.exchange import brush_rle
from wildseg.exchange.coco import LARGEST_SIDE
from wildseg.exchange.polygons import fill
from wildseg.exchange.regions import FrameRegions, LabelledFrame, Region, RegionFile, split

IMAGE, BRUSH = "image", "tag"  # names of the interface's parts
AREAS = ("brushlabels", "polygonlabels")


def tasks(frames: Iterable[LabelledFrame], names: Mapping[int, str], prefix: str, version: str) -> Iterator[str]:
    """Yield the tasks of a file, one JSON object each, with a prediction.

    Args:
        frames: what is described; pixels whose id is not in `names` have no brush.
        names: of ids.
        prefix: what comes before the file name of an image to make its address.
        version: of what predicted, which Label Studio shows.
    """
    for number, frame in enumerate(frames, 1):
        height, width = frame.ids.shape
        results: list[dict[str, Any]] = []
        for region in split(frame.ids, names):
            mask = np.zeros((height, width), bool)
            rows, columns = region.mask.shape
            mask[region.top : region.top + rows, region.left : region.left + columns] = region.mask
            value = {"format": "rle", "rle": brush_rle.encode(mask), "brushlabels": [region.name]}
            results.append({
                "id": f"{number}-{len(results)}", "type": "brushlabels", "from_name": BRUSH, "to_name": IMAGE,
                "original_width": width, "original_height": height, "image_rotation": 0, "value": value,
            })  # fmt: skip
        task = {
            "data": {IMAGE: prefix + quote(frame.file), "file": frame.file, "width": width, "height": height},
            "predictions": [{"model_version": version, "result": results}],
        }
        yield json.dumps(task, ensure_ascii=False)


def interface(names: Mapping[int, str], palette: np.ndarray) -> str:
    """Return the labelling interface: an image and a brush with a label of each name."""
    own = "\n".join(
        f'    <Label value={quoteattr(name)} background="{"#{:02x}{:02x}{:02x}".format(*palette[id_].tolist())}"/>'
        for id_, name in names.items()
    )
    return (f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>\n  <BrushLabels name="{BRUSH}" '
            f'toName="{IMAGE}">\n{own}\n  </BrushLabels>\n</View>\n')  # fmt: skip


def read(path: Path) -> RegionFile:
    """Read the regions of exported tasks: of each its last annotation that was not cancelled, else its prediction.

    Raises:
        DataError: it is missing or malformed, or an image occurs twice.
    """
    raw = load_bytes(path)
    try:
        content = json.loads(raw.decode(json.detect_encoding(raw)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a JSON file ({shorten(str(error), 120)})") from error
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise DataError(f"{path}: expected a list of tasks, as Label Studio exports as JSON")
    frames: dict[str, FrameRegions] = {}
    skipped: dict[str, int] = {}
    for task in content:
        file, results = _file(path, task), _results(path, task)
        if file in frames:
            raise DataError(f"{path}: expected each image once, found {file!r} in two tasks")
        areas = [one for one in results if one.get("type") in AREAS]
        for one in results:
            if one.get("type") not in (*AREAS, "choices", "textarea"):
                kind = str(one.get("type"))
                skipped[kind] = skipped.get(kind, 0) + 1
        shape = _shape(path, file, task, areas)
        frames[file] = FrameRegions(file, shape, partial(_regions, path, file, shape, areas))
    return RegionFile(tuple(frames.values()), skipped)


def _file(path: Path, task: Mapping[str, Any]) -> str:
    data = task.get("data")
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected the data of each task, found one without")
    file = data.get("file") or data.get(IMAGE) or next((v for v in data.values() if isinstance(v, str)), None)
    if not isinstance(file, str) or not file:
        raise DataError(f"{path}: expected the image of each task, found {shorten(repr(data), 80)}")
    return file


def _results(path: Path, task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    annotations = [one for one in task.get("annotations") or [] if isinstance(one, dict)]
    kept = [one for one in annotations if not one.get("was_cancelled")]
    found = kept[-1:] or [one for one in task.get("predictions") or [] if isinstance(one, dict)][-1:]
    results = found[0].get("result") if found else []
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        raise DataError(f"{path}: expected the results of each annotation as a list")
    return results


def _shape(path: Path, file: str, task: Mapping[str, Any], areas: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Return (H, W): of the first area, or as exported; (0, 0) where nothing says it."""
    places: list[tuple[Any, Any]] = [(one.get("original_height"), one.get("original_width")) for one in areas]
    places += [(task["data"].get("height"), task["data"].get("width"))]
    for height, width in places:
        if height is None and width is None:
            continue
        whole = isinstance(height, int) and isinstance(width, int)
        if not whole or min(height, width) < 1 or max(height, width) > LARGEST_SIDE:
            found = shorten(repr((width, height)), 80)
            raise DataError(f"{path}: expected the size of {file!r} in pixels, found {found}")
        return height, width
    return 0, 0


def _regions(path: Path, file: str, shape: tuple[int, int], results: Sequence[Mapping[str, Any]]) -> Iterator[Region]:
    for one in results:
        try:
            value = one["value"]
            names = value[one["type"]]
            if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
                raise ValueError(f"expected one label, found {shorten(repr(names), 60)}")
            if (one.get("original_height"), one.get("original_width")) != shape:
                raise ValueError(f"it is of an image of {one.get('original_width')}x{one.get('original_height')}")
            if one["type"] == "polygonlabels":  # corners in percent of the image
                corners = np.array(value["points"], np.float64).reshape(-1, 2) * [shape[1] / 100, shape[0] / 100]
                if len(corners) < 3 or not np.isfinite(corners).all():
                    raise ValueError("expected three corners or more")
                mask = fill([corners], shape)
            else:
                mask = brush_rle.decode(value["rle"], shape)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise DataError(f"{path}: expected a brush or polygon of {file!r}, {shape[1]}x{shape[0]}, in the result "
                            f"{shorten(repr(one.get('id')), 40)} ({shorten(str(error), 120)})") from error  # fmt: skip
        yield Region(names[0], mask)
