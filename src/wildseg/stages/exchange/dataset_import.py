"""`wildseg import`: photos, truth masks, image labels and splits of a data set, written where a project has them."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wildseg.artifacts import truth_maps
from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.truth import check_id_offset
from wildseg.core.classes import Classes
from wildseg.core.errors import DataError, WildsegError
from wildseg.core.files import save_json
from wildseg.core.images import save_label_image
from wildseg.core.progress import track
from wildseg.core.tables import save_table
from wildseg.exchange.dataset import Dataset, Item, Key, listed
from wildseg.exchange.mask_folders import table_files
from wildseg.execution import presets
from wildseg.frames.photos import read_photo
from wildseg.frames.read_stats import DecodeError
from wildseg.frames.sources import safe_name
from wildseg.metrics.levels import classes_in
from wildseg.stages.exchange.class_matching import MaskCounts, Matching, Renames, class_names_of, ids_of_names, match
from wildseg.stages.exchange.import_params import changes_for, command_line
from wildseg.stages.exchange.placement import Placement, placing
from wildseg.stages.exchange.splits import shares

if TYPE_CHECKING:
    from wildseg.execution.params import Params


@dataclass(frozen=True)
class ImportOptions:
    """What a person chose.

    name: of the data set in the project. table: a file of classes, else the one beside the masks. renames: lines
    ``NAME=CLASS``. labels: objects, masks, none, or auto: objects where the data set lists them, else masks.
    """

    name: str
    table: Path | None = None
    renames: tuple[str, ...] = ()
    labels: str = "auto"
    set_classes: bool = False
    write_params: bool = False
    replace: bool = False


def proposed_classes(dataset: Dataset, table_path: Path | None, folder: Path) -> Classes:
    """Return the classes of a data set as params.yaml may have them, each with its name as the phrase.

    Raises:
        DataError: nothing names classes.
    """
    _, table = table_of(dataset, table_path)
    if table is None:
        raise DataError(f"{folder}: expected names of classes, such as classes.csv (id,name or colour,name) beside the "
                        "masks or by --table, found none")  # fmt: skip
    names = [re.sub(r"[,./\\\"'\s]+", "_", name.strip()).strip("_") for name in class_names_of(table)]
    return Classes({name: [" ".join(name.replace("_", " ").split())] for name in names})


def run(params: Params, artifacts: Artifacts, dataset: Dataset, folder: Path, options: ImportOptions) -> None:
    """Write data/raw/<name>, data/truth/<name>, data/labels/<name>.csv and data/raw/<name>.csv, all or nothing.

    Args:
        params: the classes, and the share of pixels from which a class counts as present.
        artifacts: of the project.
        dataset: what was found.
        folder: where it was found.
        options: see `ImportOptions`.

    Raises:
        WildsegError: a photo or mask that cannot be used, values or names without a class, or a target that exists.
    """
    if options.name != safe_name(options.name):
        raise WildsegError(f"--name: expected letters, digits, - and _, found {options.name!r}; for instance "
                           f"{safe_name(options.name)}")  # fmt: skip
    classes = proposed_classes(dataset, options.table, folder) if options.set_classes else params.classes
    path, table = table_of(dataset, options.table)
    renames = Renames(options.renames, classes.names)
    matching = match(path or folder, table, classes.names, renames)
    with placing(replace=options.replace) as placement:
        writer = _Writer(artifacts, options.name, matching, params.eval.min_presence, placement)
        for index, item in enumerate(track(dataset.items, len(dataset.items), "import")):
            writer.add(index, item)
        writer.counts.check(folder, matching)
        warning = id_warning(writer.counts, matching, folder, background=bool(params.background))
        labels = _labels(dataset.items, writer.present, classes.names, renames, options.labels, folder)
        labelled = writer.save_tables(dataset.items, folder, labels, classes.names)
        changes = changes_for(
            options.name,
            [item.split for item in dataset.items],
            classes if options.set_classes else None,
            labelled=labelled,
        )
        chosen = changes if options.write_params else {key: changes[key] for key in ("classes",) if key in changes}
        params_yaml = artifacts.root / "params.yaml"
        changed = (
            presets.lay_over(params_yaml, chosen, dry_run=True) if chosen else []
        )  # raises before anything appears
    if chosen:
        presets.lay_over(params_yaml, chosen)
    about = [
        *writer.counts.lines(classes.names, background=bool(params.background)),
        *_report(writer, dataset, labelled),
    ]
    for line in [*dataset.notes, *([warning] if warning else []), *about]:
        print(f"import: {line}")
    for line in changed:
        print(f"import: params.yaml: {line}")
    if not options.write_params:
        print(f"import: to use them: dvc exp run {command_line(changes)}; or give --write-params")
    name = options.name
    print(f"import: to track them: dvc add data/raw/{name}{f' data/truth/{name}' if writer.counts.masks else ''}")


def table_of(dataset: Dataset, chosen: Path | None) -> tuple[Path | None, Mapping[Key, str] | None]:
    """Return the file of classes, and the name of each id or colour; the layout's own ones where there is no file."""
    beside = next((found for folder in dataset.table_folders if (found := truth_maps.find(folder))), None)
    others = table_files(dataset.table_folders)
    path = chosen or beside or (others[0] if others else None)
    return path, dataset.table if path is None else truth_maps.read(path)


class _Writer:
    """Writes photos and masks under temporary names, and counts what they hold."""

    def __init__(
        self, artifacts: Artifacts, name: str, matching: Matching, min_presence: float, placement: Placement
    ) -> None:
        self.counts = MaskCounts()
        self.present: dict[int, np.ndarray] = {}  # by index: (C,) bool of the mask
        self._artifacts, self._name, self._matching = artifacts, name, matching
        self._min_presence, self._placement = min_presence, placement
        self._photos = placement.folder(artifacts.data / "raw" / name)
        self._truth: Path | None = None

    def frame(self, index: int) -> str:
        """Return the name that `extract` gives to a photo."""
        return f"{self._name}_{index:06d}"

    def add(self, index: int, item: Item) -> None:
        try:
            height, width, _ = read_photo(item.photo).shape
        except DecodeError as error:
            raise DataError(f"{item.photo}: expected a photo; {error}") from error
        # The number comes first, so that the order of names is that of the splits.
        shutil.copyfile(item.photo, self._photos / f"{index:06d}_{safe_name(item.name)}{item.photo.suffix.lower()}")
        if item.mask is None:
            return
        if self._truth is None:
            self._truth = self._placement.folder(self._artifacts.data / "truth" / self._name)
        ids = self.counts.read(item.mask, self._matching, (height, width))
        save_label_image(self._truth / f"{self.frame(index)}.png", ids)
        self.present[index], _ = classes_in(ids, len(self._matching.class_names), self._min_presence)

    def save_tables(
        self, items: Sequence[Item], folder: Path, labels: Mapping[int, np.ndarray], names: Sequence[str]
    ) -> bool:
        """Write classes.json beside masks, the list of photos, and labels, if any; return whether there are labels."""
        if self._truth is not None:
            by_id = {str(id_): name for id_, name in enumerate(("background", *names))} | {"255": "ignore"}
            save_json(self._truth / "classes.json", by_id)
        rows = [
            (self.frame(index), item.split or "", *(str(path.relative_to(folder)) if path else "" for path in
             (item.photo, item.mask)))
            for index, item in enumerate(items)
        ]  # fmt: skip
        listing = self._placement.file(self._artifacts.data / "raw" / f"{self._name}.csv")
        save_table(listing, ("frame", "split", "photo", "mask"), rows)
        if not labels:
            return False
        table = self._placement.file(self._artifacts.data / "labels" / f"{self._name}.csv")
        cells = [
            (self.frame(index), ",".join(name for name, is_in in zip(names, row, strict=True) if is_in))
            for index, row in sorted(labels.items())
        ]
        save_table(table, ("Frame", "Labels"), cells, quote_all=True)
        return True


def id_warning(counts: MaskCounts, matching: Matching, folder: Path, *, background: bool) -> str | None:
    """Return a line where ids without a table may start at 0; raises a DataError where they probably do."""
    if matching.label_map is not None:
        return None
    return check_id_offset(counts.pixels, counts.masks, matching.class_names, folder, background=background)


def _labels(
    items: Sequence[Item],
    of_masks: Mapping[int, np.ndarray],
    class_names: Sequence[str],
    renames: Renames,
    kind: str,
    folder: Path,
) -> dict[int, np.ndarray]:
    """Return the classes present by index of the photo, (C,) bool, where they are known."""
    if kind == "none":
        return {}
    if kind == "objects" and not any(item.labels is not None for item in items):
        raise WildsegError("--labels objects: expected lists of objects (Annotations), found none")
    found = {} if kind == "objects" else dict(of_masks)
    others: Counter[str] = Counter()
    for index, item in enumerate(items):
        if item.labels is not None and kind in ("auto", "objects"):
            ids, unknown = ids_of_names(item.labels, class_names, renames)
            others.update(unknown)
            found[index] = np.isin(np.arange(1, len(class_names) + 1), list(ids))
    if others:
        shown = ", ".join(f"{name!r} in {times} photos" for name, times in others.most_common(8))
        raise DataError(f"{folder}: expected objects of classes of params.yaml, found {shown}; map each by "
                        "--map NAME=CLASS or --map NAME=ignore")  # fmt: skip
    return found


# Report --------------------------------------------------------------------------------------------------------------


def _report(writer: _Writer, dataset: Dataset, labelled: bool) -> list[str]:
    items = dataset.items
    lines = _split_lines(items)
    if labelled and (without := [item.name for index, item in enumerate(items) if index not in writer.present
                                 and item.labels is None]):  # fmt: skip
        lines.append(f"{len(without)} photos have no labels: {listed(without)}; 'label.method: given' needs a line "
                     "for each")  # fmt: skip
    lines.append(f"{len(items)} photos, {writer.counts.masks} truth masks{', image labels' if labelled else ''}")
    return lines


def _split_lines(items: Sequence[Item]) -> list[str]:
    splits = Counter(item.split for item in items)
    if set(splits) == {None}:
        return ["no splits are given: extract.val and extract.test cut the photos in the order of their names"]
    shown = ", ".join(f"{number} {split or 'without a split'}" for split, number in splits.items())
    if shares([item.split or "" for item in items]) is None:
        return [f"{shown}: a project splits photos by their place and needs some to train on, so that these splits "
                "cannot be kept; data/raw/<name>.csv lists them"]  # fmt: skip
    return [f"{shown}, kept by the order of the photos together with extract.val and extract.test"]
