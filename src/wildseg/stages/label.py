"""Stage 2: which classes are in each key frame, and the words in which a model is asked about them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.project import Artifacts, Frame, Words
from wildseg.core.errors import DataError
from wildseg.core.files import save_json, save_plotted_table
from wildseg.encoders import vocabulary
from wildseg.execution.failures import Failures
from wildseg.execution.runtime import Runtime
from wildseg.labels.decide import correct, decide, rule_of
from wildseg.labels.interface import Answer
from wildseg.labels.sharpness import FEWEST, Ranking
from wildseg.labels.smoothing import smooth
from wildseg.labels.spread import remarks
from wildseg.stages.asking import Setting, ask
from wildseg.stages.words import choose

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames, choose the words, ask the label method, decide, apply a person's corrections.

    Writes labels.csv, scores.csv, prompts.json and answers.jsonl in data/labels, metrics/label.json and
    metrics/label/templates.csv.
    Frames that cannot be read are in neither table, and listed in data/labels/quarantine.csv.

    Raises:
        DataError: no key frames, too many that cannot be read, no class in any, or a mistake in a person's table.
        ModelError: the model cannot be had.
    """
    names, key_frames = params.classes.names, artifacts.load_frames()
    frames = [frame.name for frame in key_frames]
    # Read first: a slip in it is told before anything is computed or removed.
    overrides = (
        artifacts.load_labels(names, artifacts.overrides_csv) if os.path.lexists(artifacts.overrides_csv) else {}
    )
    made = (artifacts.labels_csv, artifacts.scores_csv, artifacts.prompts_json, artifacts.answers_jsonl)
    for leftover in (*made, artifacts.quarantine_csv("label")):
        leftover.unlink(missing_ok=True)

    setting = Setting(params.classes, params.clip, params.label, artifacts, runtime)
    model = params.clip.model, params.clip.pretrained, artifacts.root
    words, ranking = choose(setting, params.background, key_frames, overrides)
    _note(vocabulary.warning(*model, params.classes.phrases, words.background))
    _tell(words, ranking, compared=params.background == "auto")
    failures = Failures("label", params.label.max_failures, len(frames))
    answers, from_cache = ask(setting, words, frames, failures)
    corrections = {frame: present for frame, present in overrides.items() if frame not in dict(failures.rows)}
    frames = failures.without(frames)
    artifacts.save_answers(frames, [answer.record for answer in answers])
    named = set(frames)
    scores = _scores(answers, [frame for frame in key_frames if frame.name in named], params.label.smooth_s)
    natural, relative = rule_of(answers[0], params.label.rule)
    present = decide(scores, names, natural, params.label.threshold, params.label.fallback, relative=relative)
    present = correct(frames, present, corrections, artifacts.overrides_csv)
    unread = sum(answer.record.get("parse_errors", 0) for answer in answers)
    if not present.any():
        said = f"; {unread} answers could not be read, {artifacts.answers_jsonl} has them" if unread else ""
        raise DataError(
            f"label: expected some class in some of {len(frames)} frames, found none (the highest score is "
            f"{scores.max():.3f}); lower label.threshold, set label.fallback to argmax, or change the phrases{said}"
        )

    artifacts.save_labels(frames, names, present)
    artifacts.save_scores(frames, names, scores)
    artifacts.save_prompts(words)
    artifacts.save_quarantine("label", failures.rows)
    save_json(artifacts.metrics_path("label.json"), summary(present, words, ranking, answers))
    save_plotted_table(artifacts.metrics_path("label/templates.csv"), COLUMNS, _rows(ranking))
    _note(*remarks(present, names))
    empty = int((~present.any(1)).sum())
    corrected = f", {len(corrections)} by hand" if corrections else ""
    illegible = f", {unread} answers that could not be read" if unread else ""
    mean = present.sum(1).mean()
    print(
        f"label: {len(frames)} frames, {mean:.1f} classes a frame, {empty} without any{corrected}{illegible}{failures}"
        f"{from_cache}"
    )


def _note(*lines: str) -> None:
    for line in filter(None, lines):
        print(f"label: {line}")


def _scores(answers: Sequence[Answer], frames: Sequence[Frame], smooth_s: float | None) -> np.ndarray:
    """Return the scores to decide on, (n, K), of as many frames as there are answers."""
    scores = np.stack([answer.scores for answer in answers])
    if smooth_s is None:
        return scores
    return smooth(scores, [frame.source for frame in frames], [frame.time_s for frame in frames], smooth_s)


# What is told of the words ---------------------------------------------------------------------------------------

COLUMNS = ("template", "sharpness", "top1", "verdict")


def summary(
    present: np.ndarray, words: Words, ranking: Ranking | None, answers: Sequence[Answer] = ()
) -> dict[str, object]:
    """Return metrics/label.json; `sharpest` is null where the templates are a person's own.

    `language` is null where no language model was asked.

    Args:
        present: (n, K) bool.
        words: what was asked with.
        ranking: of the templates. All of it is in metrics/label/templates.csv, since DVC shows a column per number.
        answers: of the label method.
    """
    return {
        "frames": len(present),
        "frames_without_class": int((~present.any(1)).sum()),
        "classes_per_frame": present.sum(1).mean(),
        "background_phrases": len(words.background),
        "sharpest": None if ranking is None else _best(ranking),
        "language": _spent([answer.record for answer in answers if answer.record]),
    }


def _spent(records: Sequence[Mapping[str, Any]]) -> dict[str, object] | None:
    """Return what asking a language model took: all that led to these labels, whenever it was answered."""
    if not records:
        return None
    turns = [turn for record in records for turn in record["turns"]]
    costs = [turn["cost"] for turn in turns if turn["cost"] is not None]
    return {
        "questions": len(turns),
        "retries": sum(record["retries"] for record in records),
        "parse_errors": sum(record["parse_errors"] for record in records),
        "refused_names": sum(len(record["refused"]) for record in records),
        "tokens_in": sum(turn["tokens"][0] for turn in turns),
        "tokens_out": sum(turn["tokens"][1] for turn in turns),
        "seconds": round(sum(turn["seconds"] for turn in turns), 3),
        "cost": sum(costs) if costs else None,
    }


def _best(ranking: Ranking) -> dict[str, object]:
    best = ranking.candidates[0]
    return {
        "template": best.template,
        "sharpness": best.sharpness,
        "top1": best.top1,
        "candidates": len(ranking.candidates),
        "clueless": ranking.clueless,
        "frames": ranking.frames,
    }


def _rows(ranking: Ranking | None) -> list[tuple[str, str, str, str]]:
    cell = lambda value: "" if value is None else f"{value:.6f}"  # noqa: E731
    return [
        (one.template, cell(one.sharpness), cell(one.top1), "clueless" if one.clueless else "" if place else "chosen")
        for place, one in enumerate(ranking.candidates if ranking else ())
    ]


def _tell(words: Words, ranking: Ranking | None, *, compared: bool) -> None:
    named = [(one.means, one.phrase) for one in words.dropped if one.similarity is None]
    alike = [(one.means, f"{one.phrase} {one.similarity:.2f}") for one in words.dropped if one.similarity is not None]
    if named:
        print(f"label: background phrases left out, since they name a class: {_by_class(named)}")
    if alike:
        print(
            f"label: background phrases left out, since this model finds them as near to a class as its synonyms "
            f"(cosine above {words.cut:.2f}): {_by_class(alike)}"
        )
    if compared and words.cut is None:
        print(
            "label: this model finds synonyms no nearer to each other than other phrases; no background phrase is left "
            "out by how near it is to a class"
        )
    if words.dropped:
        print(f"label: {len(words.background)} background phrases compete: {', '.join(words.background) or 'none'}")
    if ranking is not None:
        print(f"label: {_choice(ranking)}")


def _by_class(phrases: Sequence[tuple[str, str]]) -> str:
    of_class = defaultdict[str, list[str]](list)
    for name, phrase in phrases:
        of_class[name].append(phrase)
    return "; ".join(f"{', '.join(own)} ({name})" for name, own in of_class.items())


def _choice(ranking: Ranking) -> str:
    best, number = ranking.candidates[0], len(ranking.candidates)
    if ranking.enough:
        return (
            f"{best.template!r} is the sharpest of {number} templates, {best.sharpness:.4f} on {ranking.frames} frames "
            f"of two classes or more; its best guess is right in {best.top1:.1%}, {ranking.clueless} were too clueless"
        )
    why = "no frame shows any class" if best.top1 is None else f"its best guess is right most often, in {best.top1:.1%}"
    return (
        f"{ranking.frames} of {ranking.looked_at} frames show two classes or more, too few to tell templates apart by "
        f"sharpness ({FEWEST} are needed); of {number} it is {best.template!r}: {why}"
    )
