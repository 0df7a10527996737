"""`wildseg import` of videos with masks of some frames: data/raw/<name>, and data/truth/<video> of each."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, WildsegError
from wildseg.core.files import save_json
from wildseg.core.images import save_label_image
from wildseg.core.progress import track
from wildseg.exchange.dataset import Dataset, Video
from wildseg.execution import presets
from wildseg.frames import reader
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.sources import Source, safe_name, unique_names
from wildseg.stages.exchange.class_matching import MaskCounts, Renames, match
from wildseg.stages.exchange.dataset_import import ImportOptions, id_warning, proposed_classes, table_of
from wildseg.stages.exchange.placement import placing

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, dataset: Dataset, folder: Path, options: ImportOptions) -> None:
    """Write the videos and their masks, all or nothing; arguments as of `dataset_import.run`.

    Raises:
        WildsegError: a video or mask that cannot be used, values or names without a class, or a target that exists.
    """
    if options.name != safe_name(options.name):
        raise WildsegError(f"--name: expected letters, digits, - and _, found {options.name!r}")
    classes = proposed_classes(dataset, options.table, folder) if options.set_classes else params.classes
    path, table = table_of(dataset, options.table)
    matching = match(path or folder, table, classes.names, Renames(options.renames, classes.names))
    counts = MaskCounts()
    changes = {"extract": {"source": f"data/raw/{options.name}"}} if options.write_params else {}
    chosen = changes | ({"classes": {n: list(p) for n, p in zip(classes.names, classes.phrases, strict=True)}}
                        if options.set_classes else {})  # fmt: skip
    # As `extract` tells equal names apart; what is written has these names, so that it finds nothing to tell apart.
    names = unique_names(safe_name(video.name) for video in dataset.videos)
    with placing(replace=options.replace) as placement:
        raw = placement.folder(artifacts.data / "raw" / options.name)
        for name, video in zip(names, dataset.videos, strict=True):
            shutil.copyfile(video.path, raw / f"{name}{video.path.suffix.lower()}")
            truth = placement.folder(artifacts.data / "truth" / name)
            shape = _shape(video)
            for index, mask in track(video.masks.items(), len(video.masks), f"import: {name}"):
                save_label_image(truth / f"{name}_{index:06d}.png", counts.read(mask, matching, shape))
            by_id = {str(id_): text for id_, text in enumerate(("background", *classes.names))} | {"255": "ignore"}
            save_json(truth / "classes.json", by_id)
        counts.check(folder, matching)
        warning = id_warning(counts, matching, folder, background=bool(params.background))
        changed = presets.lay_over(artifacts.root / "params.yaml", chosen, dry_run=True) if chosen else []
    if chosen:
        presets.lay_over(artifacts.root / "params.yaml", chosen)
    renamed = [
        f"{video.path.name}: its name is that of another video, so it became {name}"
        for name, video in zip(names, dataset.videos, strict=True)
        if name != safe_name(video.name)
    ]
    lines = [*([warning] if warning else []), *counts.lines(classes.names, background=bool(params.background))]
    lines += [*renamed, *(f"params.yaml: {line}" for line in changed)]
    if not options.write_params:
        lines.append(f"to use them: dvc exp run -S extract.source=data/raw/{options.name}; or give --write-params")
    held_out = f"; -S 'extract.held_out=[{names[-1]}]' holds a whole one out" if len(names) > 1 else ""
    lines += [
        f"splits are made within each video by time{held_out}",
        "only masks of frames that 'extract' chooses are measured; 'wildseg truth' counts them afterwards",
        f"{len(names)} videos, {counts.masks} truth masks",
        f"to track them: dvc add data/raw/{options.name} {' '.join(f'data/truth/{name}' for name in names)}",
    ]
    for line in lines:
        print(f"import: {line}")


def _shape(video: Video) -> tuple[int, int]:
    """Return (H, W) of the frames of a video as `extract` decodes them."""
    source = Source(video.name, "video", (video.path,))
    with closing(reader.read(source, None, stats := ReadStats())) as samples:
        for sample in samples:
            height, width = sample.pixels.rgb().shape[:2]
            return height, width
    raise DataError(f"{video.path}: expected a video, found no frame ({next(iter(stats.quarantine), ('', ''))[1]})")
