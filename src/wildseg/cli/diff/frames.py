"""The frames of two reports: how far their masks differ, and pictures of those that changed most, side by side.

Masks are those of metrics/report, which all frames of a report have; they are shrunk to `sheets.LONGEST` pixels, so
that shares of pixels are those of evenly spread ones.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wildseg.artifacts.report import PICTURES
from wildseg.cli.diff.revision import Revision
from wildseg.core.errors import DataError
from wildseg.core.files import load_bytes, save_bytes
from wildseg.core.images import load_image, load_label_image
from wildseg.report.drawing import coloured
from wildseg.report.page_frames import entries_of
from wildseg.report.sheets import parts_of_sheet

REPORT = "metrics/report"
PAGE, IDS = f"{REPORT}/index.html", f"{REPORT}/frames/ids"
PHOTO = f"{REPORT}/frames/photo"
CHANGED = np.array((230, 30, 60), np.float32)  # colour of pixels whose id differs
QUALITY = 85  # of a JPEG
MASK, MODEL, TRUTH = 0, 1, 2  # parts of a sheet


@dataclass(frozen=True)
class FrameChange:
    """A frame that both reports show.

    masks, model: the share of its pixels whose id differs, of pseudo masks and of predictions; undecided is an id of
    its own. first, second: its entry in each report, see `wildseg.report.page_frames`.
    """

    name: str
    masks: float
    model: float
    first: dict[str, Any]
    second: dict[str, Any]

    @property
    def change(self) -> float:
        """By which frames are sorted: the mean of both shares."""
        return (self.masks + self.model) / 2


def changes(first: Revision, second: Revision, remarks: list[str]) -> list[FrameChange]:
    """Return the frames that both reports show, the most changed first; lines on what was left out go to `remarks`.

    Raises:
        DataError: no frame is in both, although both have some.
    """
    both = []
    for one in (first, second):
        if not one.read(PAGE, IDS):
            remarks.append(f"{one.name} has no report, so that no frames are compared")
            return []
        page = load_bytes(one.artifacts.report_page).decode("utf-8", "replace")
        both.append({entry["name"]: entry for entry in entries_of(page)})
    shared = [name for name in both[0] if name in both[1]]
    if not shared and all(both):
        raise DataError(f"expected a frame that {first.name} and {second.name} both have, found none; "
                        "are they of the same extract.source?")  # fmt: skip
    if not shared:
        remarks.append("a report shows no frames (eval.report_frames is 0), so that none are compared")
    elif alone := sum(map(len, both)) - 2 * len(shared):
        remarks.append(f"{alone} frames are in one report alone")
    found = [_change(first, second, name, both[0][name], both[1][name]) for name in shared]
    return sorted(found, key=lambda one: (-one.change, one.name))


def _change(first: Revision, second: Revision, name: str, one: dict[str, Any], other: dict[str, Any]) -> FrameChange:
    before, after = _masks(first, name, one), _masks(second, name, other)
    after = [_as_large_as(ids, before[0].shape) for ids in after]
    masks, model = (float((before[part] != after[part]).mean()) for part in (MASK, MODEL))
    return FrameChange(name, masks, model, one, other)


def _masks(revision: Revision, name: str, entry: dict[str, Any]) -> list[np.ndarray]:
    """Return pseudo mask, prediction and, if it is known, truth of a frame: (h, w) uint8 ids each."""
    sheet = load_label_image(revision.artifacts.report_picture("ids", name))
    width, height = entry["size"]
    parts = parts_of_sheet(sheet, (height, width))
    if len(parts) < MODEL + 1:
        raise DataError(
            f"{IDS}/{name}{PICTURES['ids']} of {revision.name}: expected two masks or three below each other"
        )
    return parts


def _as_large_as(ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if ids.shape == shape:
        return ids
    return np.asarray(Image.fromarray(ids).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


# Pictures -----------------------------------------------------------------------------------------------------------


def draw(
    first: Revision, second: Revision, shown: Sequence[FrameChange], folder: Path, palette: np.ndarray
) -> list[list[tuple[str, str]]]:
    """Write the pictures of frames into a folder; return title and file name of each picture, frame by frame.

    The palette is (256, 3) uint8 RGB by id.
    """
    return [
        list(_pictures(first, second, frame, folder / f"{index:04d}", palette)) for index, frame in enumerate(shown, 1)
    ]


def _pictures(
    first: Revision, second: Revision, frame: FrameChange, start: Path, palette: np.ndarray
) -> Iterator[tuple[str, str]]:
    first.read(f"{PHOTO}/{frame.name}{PICTURES['photo']}")
    photo = load_image(first.artifacts.report_picture("photo", frame.name))
    before = _masks(first, frame.name, frame.first)
    shape = before[0].shape
    after = [_as_large_as(ids, shape) for ids in _masks(second, frame.name, frame.second)]
    panels = {"image": photo}
    for part, title in ((MASK, "pseudo mask"), (MODEL, "model")):
        panels[f"{title}, A"] = coloured(before[part], photo, palette)
        panels[f"{title}, B"] = coloured(after[part], photo, palette)
    panels["changed by the model"] = _marked(before[MODEL] != after[MODEL], photo)
    if len(before) > TRUTH:
        panels["truth"] = coloured(before[TRUTH], photo, palette)
    for number, (title, pixels) in enumerate(panels.items()):
        path = start.with_name(f"{start.name}_{number}.jpg")
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=QUALITY)
        save_bytes(path, content.getvalue())
        yield title, path.name


def _marked(changed: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """Return the photo (h, w, 3) in grey, with the pixels of a mask (h, w) bool in one colour."""
    light = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2)
    return np.where(changed[..., None], 0.75 * CHANGED + 0.25 * light, light).round().astype(np.uint8)


def agreement(found: Sequence[FrameChange]) -> str:
    """Return in a sentence how far the masks of both agree, over all frames that both show."""
    masks = 1 - sum(one.masks for one in found) / len(found)
    model = 1 - sum(one.model for one in found) / len(found)
    same = sum(one.masks == one.model == 0 for one in found)
    return (
        f"{len(found)} frames in both: pseudo masks agree on {masks:.1%} of pixels, predictions on {model:.1%}; "
        f"{same} frames are the same in both"
    )
