"""`wildseg import --corrections`: corrected masks become truth or pseudo masks; touched pixels stand beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wildseg.artifacts import truth_maps
from wildseg.artifacts.corrected import COLUMNS, TABLE, corrected_files
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.truth import Truth
from wildseg.core.errors import DataError
from wildseg.core.files import save_bytes, save_json
from wildseg.core.images import encode_png, save_label_image
from wildseg.core.progress import track
from wildseg.core.tables import load_table, save_table
from wildseg.exchange.dataset import listed
from wildseg.stages.exchange import correction_files
from wildseg.stages.exchange.class_matching import Renames
from wildseg.stages.exchange.correction_files import Corrected
from wildseg.stages.exchange.exported import Exported
from wildseg.stages.exchange.mask_export import KEPT
from wildseg.stages.exchange.placement import Placement, placing

if TYPE_CHECKING:
    from wildseg.execution.params import Params

TOUCHED = "touched"  # the folder of touched pixels, beside the masks of a source


@dataclass(frozen=True)
class CorrectionOptions:
    """What a person chose.

    path: the file or folder. exported: the folder of the export; the one that holds `path` by default. maps: lines
    ``NAME=CLASS``. untouched: also take frames in which no pixel was touched. replace: masks that are there.
    purpose: ``truth``, which eval measures against, or ``masks``, which take the place of pseudo masks.
    """

    path: Path
    exported: Path | None = None
    maps: tuple[str, ...] = ()
    untouched: bool = False
    replace: bool = False
    purpose: str = "truth"


def run(params: Params, artifacts: Artifacts, options: CorrectionOptions) -> None:
    """Write corrected masks to data/truth/<source> or data/corrected/<source>, all or nothing.

    Raises:
        DataError: no such file, nothing of a key frame, names without a class, another size, or other masks there.
    """
    frames = {frame.name: frame for frame in artifacts.load_frames()}
    names = params.classes.names
    if not options.path.exists():
        raise DataError(f"{options.path}: expected corrected masks, found nothing")
    exported = _exported(options, names)

    def shape_of(frame: str) -> tuple[int, int]:
        height, width, _ = artifacts.load_image(frame).shape
        return height, width

    found = correction_files.find(options.path, frames.keys(), shape_of, names, options.maps)
    if found.by_order and exported is not None and not exported.same_ids:
        raise DataError(f"{options.path}: expected a table that says which class each id is, since the classes of "
                        f"params.yaml are not those of {exported.record}; put classes.csv of the export beside the "
                        "masks")  # fmt: skip
    store = corrected_files(artifacts.root) if options.purpose == "masks" else artifacts
    with placing(replace=True) as placement:
        writer = _Writer(store, names, frames, placement)
        for one in track(found.load(), found.number, "import"):
            before = None if exported is None else exported.ids(one.frame, one.ids.shape)
            if before is not None and np.array_equal(before, one.ids) and not options.untouched:
                writer.untouched += 1
            else:
                writer.add(one, None if before is None else before != one.ids)
        if writer.differing and not options.replace:
            raise DataError(f"{len(writer.differing)} frames have another mask already in {writer.shown_folder}: "
                            f"{listed(writer.differing)}; replace it with --replace")  # fmt: skip
        writer.save_tables()
    for line in _report(found, writer):
        print(f"import: {line}")


def _exported(options: CorrectionOptions, class_names: Sequence[str]) -> Exported | None:
    """Return the masks as they were exported, or None where nothing tells which pixels were touched."""
    renames = Renames(options.maps, class_names)
    if options.exported is not None:
        if not (options.exported / KEPT).is_dir():
            raise DataError(f"--exported {options.exported}: expected a folder of 'wildseg export', found none with "
                            f"{KEPT}")  # fmt: skip
        return Exported(options.exported, class_names, renames)
    folder = options.path if options.path.is_dir() else options.path.parent
    if (folder / KEPT).is_dir():
        return Exported(folder, class_names, renames)
    if not options.untouched:  # else all pseudo masks that nobody looked at would count as truth
        raise DataError(f"{options.path}: expected the export that was corrected, to see which frames were touched, "
                        f"found no {folder / KEPT}; name it by --exported, or take all frames by "
                        "--untouched")  # fmt: skip
    return None


class _Writer:
    """Writes masks under temporary names, and what is known of each frame."""

    def __init__(
        self, store: Truth, class_names: Sequence[str], frames: Mapping[str, Frame], placement: Placement
    ) -> None:
        self.rows: dict[str, list[tuple[str, str, str, int, int]]] = {}  # by source
        self.differing: list[str] = []
        self.untouched = self.same = 0
        self._store, self._names, self._frames, self._placement = store, class_names, frames, placement
        self._there = store.find_truth(list(frames.values()))
        self._folder = store.truth_folders[0]
        self.shown_folder = f"data/{self._folder.name}"

    def add(self, one: Corrected, touched: np.ndarray | None) -> None:
        """Write a frame; touched: (H, W) bool, or None where it is unknown."""
        frame = self._frames[one.frame]
        folder = self._folder / frame.source
        path = self._there.get(one.frame, folder / f"{one.frame}.png")
        if path.exists():
            height, width = one.ids.shape
            if np.array_equal(self._store.read_truth(path, self._names, (height, width)).ids, one.ids):
                self.same += 1
            else:
                self.differing.append(one.frame)
        self._check_map(path, one.ids)
        save_label_image(self._placement.file(path), one.ids)
        if touched is not None:
            picture = encode_png(Image.fromarray((touched * 255).astype(np.uint8)))
            save_bytes(self._placement.file(folder / TOUCHED / f"{one.frame}.png"), picture)
        number = "" if touched is None else str(int(touched.sum()))
        row = (one.frame, one.file, number, one.ids.size, one.overlapping)
        self.rows.setdefault(frame.source, []).append(row)

    def _check_map(self, path: Path, ids: np.ndarray) -> None:
        """Raise where a map of classes beside the mask would read other classes from its ids."""
        maps = self._store.maps_of_truth([path])
        if not maps:
            return
        table = truth_maps.load(maps[0], self._names).id_table
        for id_ in np.unique(ids).tolist():
            if table[id_] != id_:
                raise DataError(f"{maps[0]}: expected ids in the order of params.yaml, found another class for {id_}; "
                                "corrections are written with these ids: put other masks with their map into a folder "
                                "of their own source")  # fmt: skip

    def save_tables(self) -> None:
        """Write corrections.csv of each source, with earlier lines, and classes.json where there was no mask yet."""
        for source, rows in self.rows.items():
            folder = self._folder / source
            if not any(folder.glob("*.png")) and not self._store.maps_of_truth([folder / "any.png"]):
                names = {str(id_): name for id_, name in enumerate(("background", *self._names))} | {"255": "ignore"}
                save_json(self._placement.file(folder / "classes.json"), names)
            table = folder / TABLE
            earlier = load_table(table, COLUMNS) if table.exists() else []
            merged = {row["frame"]: tuple(row[column] for column in COLUMNS) for row in earlier}
            merged |= {str(row[0]): tuple(map(str, row)) for row in rows}
            save_table(self._placement.file(table), COLUMNS, [merged[frame] for frame in sorted(merged)])


def _report(found: correction_files.Corrections, writer: _Writer) -> Iterator[str]:
    if found.unmatched:
        yield f"{len(found.unmatched)} images match no key frame and were left out: {listed(found.unmatched)}"
    if found.skipped:
        shown = ", ".join(f"{number} {kind}" for kind, number in sorted(found.skipped.items()))
        yield f"shapes that are no area were left out: {shown}"
    rows = [row for own in writer.rows.values() for row in own]
    if disputed := [row for row in rows if row[4]]:
        yield (f"regions overlap in {sum(row[4] for row in disputed)} pixels of {len(disputed)} frames; the last "
               "region has them")  # fmt: skip
    if writer.untouched:
        yield (f"{writer.untouched} frames are as they were exported and were left out; --untouched takes them, "
               "too")  # fmt: skip
    known = [row for row in rows if row[2] != ""]
    if known:
        touched, pixels = sum(int(row[2]) for row in known), sum(row[3] for row in known)
        where = f"{writer.shown_folder}/*/{TOUCHED}"
        yield f"{touched / pixels:.2%} of the pixels of {len(known)} frames were touched ({where})"
    if len(known) < len(rows):
        yield (f"which pixels were touched is unknown in {len(rows) - len(known)} frames, which are in no export "
               "that was named")  # fmt: skip
    folders = ", ".join(f"{writer.shown_folder}/{source}" for source in writer.rows)
    yield (
        f"{len(rows)} frames have a corrected mask in {folders}"
        if rows
        else ("nothing was corrected, and nothing was written")
    )
