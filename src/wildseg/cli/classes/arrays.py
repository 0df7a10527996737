"""Maps, pseudo masks and the model with other classes: indices and ids change, and no number is computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wildseg.artifacts import shards
from wildseg.artifacts.project import Artifacts
from wildseg.cli.classes.change import Change
from wildseg.core.errors import DataError
from wildseg.core.files import load_json, save_json
from wildseg.core.progress import track
from wildseg.crf.pixel_counts import PixelCounts, count_ids
from wildseg.segment.vocabulary import HELD_OUT


def stage_maps(here: Artifacts, staged: Artifacts, change: Change, frames: list[str]) -> int:
    """Write data/cams with other indices, merged maps as their pixelwise maximum; return how many frames have maps.

    Raises:
        DataError: maps are broken, or of a class that there is not.
    """
    own = [frame for frame in frames if shards.exists(here.maps_path(frame))]
    for frame in track(own, len(own), "maps"):
        try:
            staged.save_maps(frame, *change.maps(*here.load_maps(frame)))
        except ValueError as error:
            raise DataError(f"{here.maps_path(frame)}: {error}; run 'dvc repro cam'") from error
    if shards.is_packed(here.cams_folder):
        staged.pack_maps(own)
    return len(own)


def stage_masks(here: Artifacts, staged: Artifacts, change: Change, frames: list[str]) -> int:
    """Write data/masks with other ids, and metrics/crf.json of them; return how many frames have one.

    Confidence stays: of merged classes, that of the one that was chosen, which is no more than that of all together.
    """
    table, counts = change.ids, PixelCounts()
    own = [frame for frame in frames if shards.exists(here.mask_path(frame))]
    for frame in track(own, len(own), "masks"):
        mask = table[here.load_mask(frame)]
        counts.add(count_ids(mask), 1)
        staged.save_mask(frame, mask)
    if own and shards.is_packed(here.masks_folder):
        shards.pack(staged.masks_folder, own, ".png")
    path = here.metrics_path("crf.json")
    if own and path.is_file():
        without = load_json(path).get("frames_without_class")
        summary = counts.summary(("background", *change.new))
        save_json(staged.metrics_path("crf.json"), {**summary, "frames_without_class": without})
    return len(own)


def rename_shares(here: Artifacts, staged: Artifacts, change: Change) -> None:
    """Write metrics/crf.json with other names, where no id changes."""
    path = here.metrics_path("crf.json")
    if path.is_file():
        content, names = load_json(path), change.names
        share = {names.get(name, name): value for name, value in content.get("share", {}).items()}
        save_json(staged.metrics_path("crf.json"), {**content, "share": share})


def rename_models(here: Artifacts, staged: Artifacts, change: Change) -> None:
    """Write the configs of models/segmenter and of a trained map network with other names, where no id changes."""
    model, network = Path("models/segmenter/config.json"), Path("models/cam/config.json")
    if (here.root / model).is_file():
        content = load_json(here.root / model)
        if (after := _renamed(content, ("classes", HELD_OUT), change)) != content:
            save_json(staged.root / model, after)
    if (here.root / network).is_file():
        content = load_json(here.root / network)
        inner = content.get("network")  # null where the method trains none
        if isinstance(inner, dict) and (after := _renamed(inner, ("class_names",), change)) != inner:
            save_json(staged.root / network, {**content, "network": after})


def _renamed(content: Mapping[str, Any], keys: Sequence[str], change: Change) -> dict[str, Any]:
    """Return an object of JSON whose lists of names under some keys are of the new names."""
    names = change.names
    lists = {key: content[key] for key in keys if isinstance(content.get(key), list)}
    return {**content, **{key: [names.get(name, name) for name in own] for key, own in lists.items()}}


def stale_shards(here: Artifacts, staged: Artifacts) -> list[str]:
    """Return the shards, relative to the project, that no new one replaces."""
    gone = []
    for folder, other in ((here.cams_folder, staged.cams_folder), (here.masks_folder, staged.masks_folder)):
        if other.is_dir() and shards.is_packed(other):
            names = {path.name for path in other.glob(f"*{shards.SUFFIX}")}
            gone += [
                str(path.relative_to(here.root)) for path in folder.glob(f"*{shards.SUFFIX}") if path.name not in names
            ]
    return sorted(gone)
