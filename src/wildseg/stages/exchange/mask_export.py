"""`wildseg export masks|voc|coco|labelstudio|cvat`: pseudo masks or predictions as pre-annotations for other tools.

The folder also keeps what was exported, `exported/<frame>.png`, by which an import of corrections knows the pixels
that a person touched.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts.predictions import PredictionFolder
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth_maps import class_id
from wildseg.artifacts.unpack import outside_of_data
from wildseg.core.classes import IGNORE
from wildseg.core.colours import palette
from wildseg.core.errors import DataError, did_you_mean
from wildseg.core.files import load_json, save_bytes, save_json
from wildseg.core.images import encode_label_image, save_label_image
from wildseg.core.progress import track
from wildseg.core.tables import save_table
from wildseg.exchange import class_table, coco_masks, cvat, label_studio, voc
from wildseg.exchange.regions import LabelledFrame
from wildseg.stages.exchange.placement import placing

if TYPE_CHECKING:
    from wildseg.execution.params import Params

RECORD = "export.json"  # which says that a folder is an export
KEPT = "exported"  # the folder of the ids as they were exported
IMAGES = "images"


@dataclass(frozen=True)
class ExportOptions:
    """What a person chose.

    form: masks, voc, coco, labelstudio or cvat. predictions: their folder, or None for pseudo masks. frames: by name;
    none means all. splits: the same. images: copy key frames. prefix: of the addresses of images in Label Studio.
    replace: an earlier export.
    """

    form: str
    into: Path
    predictions: Path | None = None
    frames: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    images: bool = False
    prefix: str = "/data/local-files/?d="
    replace: bool = False


def run(params: Params, artifacts: Artifacts, options: ExportOptions) -> None:
    """Write the folder `options.into`, all or nothing.

    Raises:
        DataError: no such frame, none at all, a mask that is missing or holds other ids, or a folder that is no export.
    """
    outside_of_data(artifacts, options.into)
    _check_target(options)
    frames = chosen(artifacts, options)
    names = dict(enumerate(params.classes.with_background))
    colours = palette(params.classes.names, params.colours)
    load = _loader(artifacts, options.predictions, params.classes.names)
    undecided = total = 0
    with placing(replace=options.replace) as placement:
        folder = placement.folder(options.into)

        def labelled() -> Iterator[LabelledFrame]:
            nonlocal undecided, total
            for frame in track(frames, len(frames), "export"):
                ids = load(frame.name)
                save_label_image(folder / KEPT / f"{frame.name}.png", ids)
                if options.images:
                    images = folder / (voc.PHOTOS if options.form == "voc" else IMAGES)
                    save_bytes(images / f"{frame.name}.jpg", artifacts.frame_bytes(frame.name))
                undecided += int((ids == IGNORE).sum())
                total += ids.size
                yield LabelledFrame(f"{frame.name}.jpg", ids)

        WRITERS[options.form](folder, labelled(), names, colours, options)
        if options.form == "voc":
            _save_lists(folder, frames)
        of = "predictions" if options.predictions else "masks"
        save_json(folder / RECORD, {"format": options.form, "of": of, "classes": params.classes.names,
                                    "frames": [frame.name for frame in frames]})  # fmt: skip
    print(f"export: {options.into}, {of} of {len(frames)} frames as {options.form}; {undecided / total:.1%} of the "
          "pixels are undecided (255)")  # fmt: skip


def _check_target(options: ExportOptions) -> None:
    into = options.into
    if into.exists() and not into.is_dir():
        raise DataError(f"--into {into}: expected a folder, found a file")
    if options.replace and into.is_dir() and any(into.iterdir()) and not (into / RECORD).exists():
        raise DataError(f"--into {into}: expected an earlier export to replace, found a folder without {RECORD}; "
                        "choose another folder")  # fmt: skip


def chosen(artifacts: Artifacts, options: ExportOptions) -> list[Frame]:
    """Return the frames to export, in the order of the project.

    Raises:
        DataError: a name is that of no key frame, or nothing is left.
    """
    frames = artifacts.load_frames(*options.splits, after="crf")
    known = {frame.name for frame in frames}
    if unknown := [name for name in options.frames if name not in known]:
        raise DataError(f"{unknown[0]!r}: expected names of key frames{_of_splits(options.splits)}, {len(unknown)} are "
                        f"none{did_you_mean(unknown[0], known)}")  # fmt: skip
    found = [frame for frame in frames if not options.frames or frame.name in options.frames]
    if not found:
        raise DataError(f"export: expected key frames{_of_splits(options.splits)}, found none; nothing was written")
    return found


def _of_splits(splits: Sequence[str]) -> str:
    return f" of the split {' or '.join(splits)}" if splits else ""


def _loader(artifacts: Artifacts, predictions: Path | None, class_names: Sequence[str]) -> Callable[[str], np.ndarray]:
    """Return a function that reads the ids of a frame, in the order of params.yaml."""
    folder = PredictionFolder(predictions) if predictions is not None else None
    meaning = np.arange(256)
    if folder is not None:
        path = folder.root / "classes.json"
        for key, name in load_json(path).items():
            if not key.isdecimal() or not 0 <= int(key) < IGNORE:
                raise DataError(f"{path}: expected ids from 0 to {IGNORE - 1}, found {key!r}")
            meaning[int(key)] = class_id(path, name, class_names)

    def load(frame: str) -> np.ndarray:
        ids = artifacts.load_mask(frame) if folder is None else folder.load_ids(frame)
        found = meaning[ids].astype(np.uint8)
        others = np.setdiff1d(np.unique(found), [*range(len(class_names) + 1), IGNORE])
        if others.size:
            place = folder.ids_path(frame) if folder else artifacts.mask_path(frame)
            raise DataError(f"{place}: expected ids 0 to {len(class_names)} or {IGNORE}, found {others.tolist()}; it "
                            "is of other classes than params.yaml")  # fmt: skip
        return found

    return load


# Formats -------------------------------------------------------------------------------------------------------------


def _save_masks(
    folder: Path, frames: Iterator[LabelledFrame], names: dict[int, str], colours: np.ndarray, options: ExportOptions
) -> None:
    for frame in frames:
        save_bytes(folder / f"{Path(frame.file).stem}.png", encode_label_image(frame.ids, colours))
    save_table(folder / "classes.csv", ("id", "name", "colour"), class_table.lines(names, colours))


def _save_voc(
    folder: Path, frames: Iterator[LabelledFrame], names: dict[int, str], colours: np.ndarray, options: ExportOptions
) -> None:
    own = voc.palette()  # by which tools know the format
    for frame in frames:
        save_bytes(folder / voc.MASKS / f"{Path(frame.file).stem}.png", encode_label_image(frame.ids, own))
    rows = {**names, IGNORE: "ignore"}
    text = voc.label_map_lines(list(rows.values()), own[list(rows)])
    save_bytes(folder / "labelmap.txt", text.encode())


def _save_lists(folder: Path, frames: Sequence[Frame]) -> None:
    for split in ("train", "val", "test"):
        if own := [frame.name for frame in frames if frame.split == split]:
            save_bytes(folder / voc.LISTS / f"{split}.txt", "".join(f"{name}\n" for name in own).encode())


def _save_coco(
    folder: Path, frames: Iterator[LabelledFrame], names: dict[int, str], colours: np.ndarray, options: ExportOptions
) -> None:
    save_json(folder / "annotations.json", coco_masks.encode(frames, names, colours))


def _save_label_studio(
    folder: Path, frames: Iterator[LabelledFrame], names: dict[int, str], colours: np.ndarray, options: ExportOptions
) -> None:
    tasks = label_studio.tasks(frames, names, options.prefix, "wildseg")
    _save_lines(folder / "tasks.json", _separated(tasks))
    save_bytes(folder / "interface.xml", label_studio.interface(names, colours).encode())


def _separated(objects: Iterator[str]) -> Iterator[str]:
    yield "["
    before = ""
    for text in objects:
        yield before + text
        before = ","
    yield "]"


def _save_cvat(
    folder: Path, frames: Iterator[LabelledFrame], names: dict[int, str], colours: np.ndarray, options: ExportOptions
) -> None:
    _save_lines(folder / "annotations.xml", cvat.encode(frames, names, colours))
    labels = json.dumps(cvat.labels(names, colours), ensure_ascii=False, indent=2)
    save_bytes(folder / "labels.json", f"{labels}\n".encode("utf-8", "replace"))


def _save_lines(path: Path, lines: Iterator[str]) -> None:
    content = io.StringIO()
    for line in lines:
        content.write(line + "\n")
    save_bytes(path, content.getvalue().encode("utf-8", "replace"))


WRITERS = {"masks": _save_masks, "voc": _save_voc, "coco": _save_coco, "labelstudio": _save_label_studio,
           "cvat": _save_cvat}  # fmt: skip
