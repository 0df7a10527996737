"""Tables of labels and of boxes with other classes: those of the label stage, and those that a person wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.artifacts.label_tables import read_rows
from wildseg.artifacts.project import Artifacts
from wildseg.cli.classes.change import Change
from wildseg.core.errors import DataError
from wildseg.core.files import load_json, save_json
from wildseg.core.spreadsheet import load_sheet
from wildseg.core.tables import save_table


def stage_labels(here: Artifacts, staged: Artifacts, change: Change) -> None:
    """Write the tables, prompts.json and metrics/label.json of the label stage, those that are there."""
    old, new = tuple(change.old), tuple(change.new)
    if here.labels_csv.is_file():
        labels = here.load_labels(old)
        present = change.largest(_stacked(labels, len(old), bool))
        tiles = here.load_tiles(old, labels) if here.tiles_csv.is_file() else {}
        staged.save_labels([*labels], new, present, _merged(tiles, [*labels], change))
        _summary(here, staged, present)
    for path, load, save in (
        (here.scores_csv, here.load_scores, staged.save_scores),
        (here.priors_csv, here.load_priors, staged.save_priors),
    ):
        if path.is_file():
            numbers = load(old)
            save([*numbers], new, change.largest(_stacked(numbers, len(old), float)))
    if here.prompts_json.is_file():
        content, names = load_json(here.prompts_json), change.names
        dropped = content.get("dropped", [])
        after = [{**one, "means": names.get(one.get("means"), one.get("means"))} for one in dropped]
        if after != dropped:
            save_json(staged.prompts_json, {**content, "dropped": after})


def _stacked(rows: Mapping[str, np.ndarray], width: int, kind: type) -> np.ndarray:
    return np.array([*rows.values()], kind).reshape(len(rows), width)


def _merged(tiles: Mapping[str, np.ndarray], frames: Sequence[str], change: Change) -> np.ndarray | None:
    """Return the labels of tiles with the new classes, (n, r, c, K'), or None where frames are labelled as a whole."""
    if not tiles:
        return None
    whole = np.stack([tiles[frame] for frame in frames])
    return change.largest(whole.reshape(-1, whole.shape[-1])).reshape(*whole.shape[:3], -1)


def _summary(here: Artifacts, staged: Artifacts, present: np.ndarray) -> None:
    path = here.metrics_path("label.json")
    if path.is_file() and len(present):
        content = load_json(path)
        after = {**content, "classes_per_frame": present.sum(1).mean()}
        if after != content:
            save_json(staged.metrics_path("label.json"), after)


def person_labels(here: Artifacts, staged: Artifacts, change: Change, paths: Sequence[Path]) -> list[Path]:
    """Write a person's tables of labels that name a class that changes; return which. Other columns stay as they are.

    Raises:
        DataError: a table is broken, or names a class that becomes several, of which it does not say which.
    """
    written = []
    old, new = tuple(change.old), tuple(change.new)
    for path in dict.fromkeys(path for path in paths if path.is_file()):
        sheet = load_sheet(path, "Frame", "Labels")
        lines = list(read_rows(path, sheet, old))  # of frames, or of tiles
        undefined = [index for index, place in enumerate(change.places) if place is None]
        if named := [frame for frame, present in lines if present[undefined].any()]:
            raise DataError(
                f"{path}: {len({*named})} frames, the first is {named[0]!r}, have the class {old[undefined[0]]!r}, and "
                f"'{change.what}' does not say which part; remove these lines, and write them again after the split"
            )
        in_one_cell = "Labels" in sheet.columns
        changed = [index for index, name in enumerate(old) if change.names[name] != name]
        if not changed or (in_one_cell and not any(row[changed].any() for _, row in lines)):
            continue
        others = [name for name in sheet.columns if in_one_cell or _is_other(name, old)]
        header = others if in_one_cell else [*others, *new]
        rows = []
        for (_, cells), (_, present) in zip(sheet.rows, lines, strict=True):
            after = _present(change, present)
            if in_one_cell:
                cells = cells | {"Labels": ",".join(name for name, is_in in zip(new, after, strict=True) if is_in)}
                rows.append([cells.get(name, "") for name in header])
            else:
                rows.append([*(cells.get(name, "") for name in others), *("x" if is_in else "" for is_in in after)])
        save_table(staged.root / path.relative_to(here.root), header, rows)
        written.append(path)
    return written


def _present(change: Change, present: np.ndarray) -> np.ndarray:
    out = np.zeros(len(change.new), bool)
    for place, is_in in zip(change.places, present, strict=True):
        if place is not None:
            out[place] |= bool(is_in)
    return out


def _is_other(column: str, names: Sequence[str]) -> bool:
    return " ".join(column.split()).casefold() not in {name.casefold() for name in names}


def person_boxes(here: Artifacts, staged: Artifacts, change: Change, paths: Sequence[Path]) -> list[Path]:
    """Write a person's boxes (COCO) whose categories are classes that change; return which.

    Raises:
        DataError: a file is broken, or has boxes of a class that becomes several.
    """
    written = []
    for path in dict.fromkeys(path for path in paths if path.is_file() and path.suffix == ".json"):
        content = load_json(path)
        after = _with_categories(path, content, change)
        if json.dumps(after) != json.dumps(content):
            save_json(staged.root / path.relative_to(here.root), after)
            written.append(path)
    return written


def _with_categories(path: Path, content: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """Return COCO with one category for each new name; what is merged has the id of the first."""
    names, kept = change.names, []
    ids: dict[Any, Any] = {}  # of a category that goes: that of the one that stays
    by_name: dict[str, Any] = {}
    for category in content.get("categories", []):
        name = category.get("name")
        better = names.get(name, name)
        if better is None:
            used = [one for one in content.get("annotations", []) if one.get("category_id") == category.get("id")]
            if used:
                raise DataError(f"{path}: {len(used)} boxes have the class {name!r}, and '{change.what}' does not say "
                                "which part; correct them first")  # fmt: skip
            continue
        if better in by_name:
            ids[category.get("id")] = by_name[better]
            continue
        by_name[better] = category.get("id")
        kept.append({**category, "name": better})
    annotations = [
        {**one, "category_id": ids.get(one.get("category_id"), one.get("category_id"))}
        for one in content.get("annotations", [])
    ]
    return {**content, "categories": kept, "annotations": annotations}
