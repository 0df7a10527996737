"""`wildseg classes`: one change of classes in params.yaml and in all files that name or number them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wildseg.artifacts.project import Artifacts
from wildseg.cli.classes import arrays, given_maps, params_text, recording, staging, tables, truth
from wildseg.cli.classes.change import Change
from wildseg.cli.doctor.data import outputs_of
from wildseg.core import lookup, yaml_files
from wildseg.core.errors import DataError, ParamsError
from wildseg.core.files import save_bytes
from wildseg.core.names import is_plain
from wildseg.execution import params, project_lock
from wildseg.execution.params import Params

KEPT = ("label", "cam", "crf")  # stages whose outputs are migrated; `train` too where no id changes
Build = Callable[[Mapping[str, Sequence[str]]], Change]


def apply(root: Path, build: Build, *, dry_run: bool = False) -> list[str]:
    """Change the classes of the project in `root`; return lines about what was done and what is left to do.

    A change that was interrupted is finished first; where it is the same, nothing else is done.

    Args:
        root: the project folder.
        build: returns the change from the present classes.
        dry_run: write nothing but say what would change.

    Raises:
        WildsegError: the change means nothing, a file is broken, or another command writes the project. Then nothing
            has changed.
    """
    with project_lock.held(root, "classes"):
        before: list[str] = []
        if (left := staging.pending(root)) is not None:
            before = [f"finished the change that was interrupted: {left['what']}", *staging.finish(root)]
        try:
            values = params.load(root / "params.yaml")
            change = build(dict(zip(values.classes.names, values.classes.phrases, strict=True)))
        except ParamsError as error:
            if before:  # mostly the same change once more, whose classes are no longer there
                return [*before, str(error)]
            raise
        try:
            lines = _stage(root, values, change, dry_run=dry_run)
            if dry_run:
                return [*before, *lines, "nothing was written"]
            return [*before, *staging.finish(root)]
        finally:
            if staging.pending(root) is None or dry_run:
                staging.discard(root)


def _stage(root: Path, values: Params, change: Change, *, dry_run: bool) -> list[str]:
    """Write all new files below the staging folder, then the journal; return the lines to print."""
    path = root / "params.yaml"
    new = staging.empty(root)
    here, staged = Artifacts(root), Artifacts(new)
    text = params_text.edited(yaml_files.text_of(path), change, path)
    save_bytes(new / "params.yaml", text.encode("utf-8"))
    lines = [f"{change.what}: params.yaml, {len(change.old)} classes before, {len(change.new)} now"]

    given = values.label.options.get("given", {}).get("path", "data/labels/given.csv")
    named = dict.fromkeys([str(given), values.eval.second_labels])
    own = [here.overrides_csv, here.ticks_csv, *_inside(root, list(named))]
    written = tables.person_labels(here, staged, change, own)
    written += tables.person_boxes(here, staged, change, [here.limits_json, *_inside(root, [values.cam.boxes])])
    maps, removed = _truth(root, new, values, change)
    written += maps
    lines += [f"changed: {one.relative_to(root)}" for one in written]
    folder = str(values.cam.options.get("given", {}).get("path", "data/labels/maps"))
    frames, gone = given_maps.stage_given(root, new, change, root / folder)
    lines += [f"changed: given maps of {frames} frames in {folder}"] if frames else []
    lines += _outputs(here, staged, change) if change.is_defined else []
    record = recording.up_to_date(root, _recorded(values, change)) if change.is_defined and not dry_run else []
    lines += _what_is_left(values, change, record)
    gone += [*removed, *arrays.stale_shards(here, staged)]
    if not dry_run:
        staging.commit(root, change.what, gone, record, lines)
    return lines


def _inside(root: Path, names: Sequence[str | None]) -> list[Path]:
    return [root / name for name in names if name and not Path(name).is_absolute() and ".." not in Path(name).parts]


def _truth(root: Path, new: Path, values: Params, change: Change) -> tuple[list[Path], list[str]]:
    written: list[Path] = []
    removed: list[str] = []
    source = root / values.extract.source
    folders = [root / "data/truth", root / "data/corrected", *([source / "truth"] if source.is_dir() else [])]
    for folder in folders:
        if folder.resolve().is_relative_to(root.resolve()):
            own, replaced = truth.stage_truth(root, new, change, folder, outputs_of(root))
            written += own
            removed += [str(path.relative_to(root)) for path in replaced]
    return written, removed


def _outputs(here: Artifacts, staged: Artifacts, change: Change) -> list[str]:
    tables.stage_labels(here, staged, change)
    lines = ["changed: labels of the label stage"] if staged.labels_csv.is_file() else []
    if change.keeps_ids:
        arrays.rename_shares(here, staged, change)
        arrays.rename_models(here, staged, change)
        return [*lines, *(["changed: names in models/segmenter"] if staged.segmenter_folder.is_dir() else [])]
    try:
        frames = [frame.name for frame in here.load_frames() if is_plain(frame.name)]
    except DataError:  # nothing was extracted
        return lines
    maps = arrays.stage_maps(here, staged, change, frames)
    masks = arrays.stage_masks(here, staged, change, frames)
    return [*lines, f"changed: maps of {maps} frames, pseudo masks of {masks}"] if maps or masks else lines


def _recorded(values: Params, change: Change) -> list[str]:
    """Return the stages whose migrated outputs stand for what they would compute."""
    trained = "network" in lookup.needs("methods.cam", values.cam.method)
    if change.keeps_ids:
        return [*KEPT, "train"]
    return [stage for stage in KEPT if stage != "cam" or not trained]  # a trained network has an output for each class


def _what_is_left(values: Params, change: Change, record: Sequence[str]) -> list[str]:
    lines = [f"dvc.lock describes the changed outputs of {', '.join(record)}: none is computed again"] if record else []
    if not change.is_defined:
        lines.append("label and all that follows run again, since nothing says which part a label or pixel is of")
    elif change.keeps_ids:
        lines.append("'dvc repro' measures again under the new name (eval)")
    else:
        lines.append("the model was trained on the former classes: 'dvc repro' trains again (train, eval)")
        lines.append(
            "maps of merged classes are the maximum of their maps; 'dvc repro -f label cam' computes their own"
        )
    if "language" in lookup.needs("methods.labels", values.label.method):
        lines.append(f"questions of {values.label.method} hold names of classes: when label runs again, it asks again")
    lines.append("then: git add -A params.yaml dvc.lock data && git commit; 'dvc add' folders that DVC tracks, again")
    return lines
