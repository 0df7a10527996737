"""Stage 2: which classes are in each key frame, and the prompts that the image-text model is given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wildseg.core.errors import DataError
from wildseg.core.files import save_json
from wildseg.core.tables import save_plotted_table
from wildseg.encoders import vocabulary
from wildseg.execution.failures import Failures
from wildseg.labels.decide import apply_overrides
from wildseg.labels.prevalence import prevalence_warnings
from wildseg.labels.priors import decided_by_a_person, label_priors
from wildseg.labels.smoothing import smooth
from wildseg.labels.summary import TEMPLATE_COLUMNS, summary, template_remark, template_rows
from wildseg.labels.tiles import WHOLE, agreeing, check_names, stacked, with_ticks
from wildseg.stages.label_inference import LabelJob
from wildseg.stages.prompts import choose, remarks
from wildseg.stages.tasks.label import grid_of

if TYPE_CHECKING:
    from wildseg.artifacts.frames import Frame
    from wildseg.artifacts.project import Artifacts
    from wildseg.execution.params import Params
    from wildseg.execution.runtime import Runtime
    from wildseg.labels.interface import LabelResult
    from wildseg.labels.params import Label
    from wildseg.labels.tiles import Grid


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames, choose the prompts, run the label method, decide, apply a person's corrections.

    Writes labels.csv, tiles.csv, scores.csv, priors.csv, prompts.json and answers.jsonl in data/labels, and
    metrics/label.json and metrics/label/templates.csv. With a grid, labels of a frame are those of all its tiles, its
    scores their maxima. Frames that cannot be read are in no table but data/labels/quarantine.csv.

    Raises:
        DataError: no key frames, too many that cannot be read, no class in any, or a mistake in a person's table.
        ModelError: the model cannot be had.
    """
    names, key_frames = params.classes.names, artifacts.load_frames()
    grid = grid_of(params.label)
    check_names(names, grid)
    # Read first: a slip in it is an error before anything is computed or removed.
    given = os.path.lexists(artifacts.overrides_csv)
    overrides = artifacts.load_labels(names, artifacts.overrides_csv) if given else {}
    ticks = artifacts.load_ticks(names, grid)
    _remove_outputs(artifacts)

    job = LabelJob(params.classes, params.clip, params.label, artifacts, runtime)
    prompts, ranking = choose(job, params.background, key_frames, overrides)
    _note(vocabulary.warning(params.clip, artifacts.root, params.classes.phrases, prompts.background))
    _note(*remarks(prompts, compared=params.background == "auto"), template_remark(ranking) if ranking else "")
    failures = Failures("label", params.label.max_failures, len(key_frames))
    results, cached = job.infer(prompts, [frame.name for frame in key_frames], failures)
    failed = dict(failures.rows)
    usable = [frame for frame in key_frames if frame.name not in failed]
    frames, records = [frame.name for frame in usable], [result.record for result in results]
    corrections = {frame: present for frame, present in overrides.items() if frame not in failed}
    artifacts.save_answers(frames, records)
    scores = _scores(results, usable, params.label, grid)  # (n, r, c, K)
    tiles = job.decide_tiles(results, scores)
    present = apply_overrides(frames, np.any(tiles, (1, 2)), corrections, artifacts.overrides_csv)
    tiles = with_ticks(frames, agreeing(tiles, present), ticks)
    present, named = np.any(tiles, (1, 2)), np.where(tiles, scores, 0.0).max((1, 2))
    scores = scores.max((1, 2))
    unread = sum(record.get("parse_errors", 0) for record in records)
    _check_some(artifacts, present, scores, unread)

    artifacts.save_labels(frames, names, present, None if grid == WHOLE else tiles)
    artifacts.save_scores(frames, names, scores)
    by_hand = decided_by_a_person(frames, len(names), corrections, ticks)
    certain = by_hand | any(result.relative for result in results)
    artifacts.save_priors(frames, names, label_priors(named, present, certain))
    artifacts.save_prompts(prompts)
    artifacts.save_quarantine("label", failures.rows)
    report = summary(present, len(prompts.background), ranking, records)
    save_json(artifacts.metrics_path("label.json"), report)
    save_plotted_table(artifacts.metrics_path("label/templates.csv"), TEMPLATE_COLUMNS, template_rows(ranking))
    _note(*prevalence_warnings(present, names), _unknown(artifacts, ticks, key_frames))
    corrected = f", {len(corrections)} by hand" if corrections else ""
    ticked = f", {len(ticks.keys() & {*frames})} ticked" if ticks else ""
    by_tile = "" if grid == WHOLE else f" and {tiles.sum(-1).mean():.1f} a tile ({grid[0]} x {grid[1]})"
    illegible = f", {unread} answers that could not be read" if unread else ""
    print(
        f"label: {len(frames)} frames, {report['classes_per_frame']:.1f} classes a frame{by_tile}, "
        f"{report['frames_without_class']} without any{corrected}{ticked}{illegible}{failures}{cached}"
    )


def _remove_outputs(artifacts: Artifacts) -> None:
    labels = (artifacts.labels_csv, artifacts.tiles_csv, artifacts.scores_csv, artifacts.priors_csv)
    for leftover in (*labels, artifacts.quarantine_csv("label"), artifacts.prompts_json, artifacts.answers_jsonl):
        leftover.unlink(missing_ok=True)


def _note(*lines: str) -> None:
    for line in filter(None, lines):
        print(f"label: {line}")


def _scores(results: Sequence[LabelResult], frames: Sequence[Frame], label: Label, grid: Grid) -> np.ndarray:
    """Return the scores to decide on, (n, r, c, K), of as many frames as there are results."""
    scores = stacked(results, grid)
    if label.smooth_s is None:
        return scores
    sources, times = [frame.source for frame in frames], [frame.time_s for frame in frames]
    return smooth(scores.reshape(len(scores), -1), sources, times, label.smooth_s).reshape(scores.shape)


def _unknown(artifacts: Artifacts, ticks: Mapping[str, object], frames: Sequence[Frame]) -> str:
    """Return a line on ticks of frames that are no key frames, as after another `extract`; empty where all are."""
    if not (unknown := sorted(ticks.keys() - {frame.name for frame in frames})):
        return ""
    number = "1 frame" if len(unknown) == 1 else f"{len(unknown)} frames"
    return f"ticks of {number} in {artifacts.ticks_csv} change nothing: there is no key frame {unknown[0]!r}"


def _check_some(artifacts: Artifacts, present: np.ndarray, scores: np.ndarray, unread: int) -> None:
    if not present.any():
        said = f"; {unread} answers could not be read, {artifacts.answers_jsonl} has them" if unread else ""
        lower = "lower label.threshold, set label.fallback to argmax, or change" if scores.any() else "change"
        raise DataError(
            f"label: expected some class in some of {len(present)} frames, found none (the highest score is "
            f"{scores.max():.3f}); {lower} the phrases{said}"
        )
