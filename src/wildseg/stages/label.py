"""Stage 2: which classes are in each key frame, and the words in which a model is asked about them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from wildseg.artifacts import Artifacts, Words
from wildseg.asking import Setting, ask
from wildseg.errors import DataError
from wildseg.failures import Failures
from wildseg.files import save_json, save_table
from wildseg.labels.decide import correct, decide
from wildseg.labels.sharpness import FEWEST, Ranking
from wildseg.params import Params
from wildseg.runtime import Runtime
from wildseg.words import choose


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Read key frames, choose the words, ask the label method, decide, apply a person's corrections.

    Writes labels.csv, scores.csv and prompts.json in data/labels, metrics/label.json and metrics/label/templates.csv.
    Frames that cannot be read are in neither table, and listed in data/labels/quarantine.csv.

    Raises:
        DataError: no key frames, too many that cannot be read, no class in any, or a mistake in a person's table.
        ModelError: the model cannot be had.
    """
    names, key_frames = params.classes.names, artifacts.load_frames()
    frames = [frame.name for frame in key_frames]
    # Read first: a slip in it is told before anything is computed or removed.
    overrides = artifacts.load_labels(names, artifacts.overrides_csv) if artifacts.overrides_csv.is_file() else {}
    made = (artifacts.labels_csv, artifacts.scores_csv, artifacts.prompts_json, artifacts.quarantine_csv("label"))
    for leftover in made:
        leftover.unlink(missing_ok=True)

    setting = Setting(params.classes, params.clip, params.label, artifacts, runtime)
    words, ranking = choose(setting, params.background, key_frames, overrides)
    _tell(words, ranking)
    failures = Failures("label", params.label.max_failures, len(frames))
    answers, from_cache = ask(setting, words, frames, failures)
    corrections = {frame: present for frame, present in overrides.items() if frame not in dict(failures.rows)}
    frames = failures.without(frames)
    scores = np.stack([answer.scores for answer in answers])
    present = decide(scores, names, answers[0].threshold, params.label.threshold, params.label.fallback)
    present = correct(frames, present, corrections, artifacts.overrides_csv)
    if not present.any():
        raise DataError(
            f"label: expected some class in some of {len(frames)} frames, found none (the highest score is "
            f"{scores.max():.3f}); lower label.threshold, set label.fallback to argmax, or change the phrases"
        )

    artifacts.save_labels(frames, names, present)
    artifacts.save_scores(frames, names, scores)
    artifacts.save_prompts(words)
    artifacts.save_quarantine("label", failures.rows)
    save_json(artifacts.metrics_path("label.json"), summary(present, words, ranking))
    save_table(artifacts.metrics_path("label/templates.csv"), COLUMNS, _rows(ranking))
    empty = int((~present.any(1)).sum())
    corrected = f", {len(corrections)} by hand" if corrections else ""
    mean = present.sum(1).mean()
    print(
        f"label: {len(frames)} frames, {mean:.1f} classes a frame, {empty} without any{corrected}{failures}{from_cache}"
    )


# What is told of the words ---------------------------------------------------------------------------------------

COLUMNS = ("template", "sharpness", "top1", "verdict")


def summary(present: np.ndarray, words: Words, ranking: Ranking | None) -> dict[str, object]:
    """Return metrics/label.json; `sharpest` is null where the templates are a person's own.

    Args:
        present: (n, K) bool.
        words: what was asked with.
        ranking: of the templates. All of it is in metrics/label/templates.csv, since DVC shows a column per number.
    """
    best = ranking.candidates[0] if ranking else None
    return {
        "frames": len(present),
        "frames_without_class": int((~present.any(1)).sum()),
        "classes_per_frame": present.sum(1).mean(),
        "background_phrases": len(words.background),
        "sharpest": ranking
        and best
        and {
            "template": best.template,
            "sharpness": best.sharpness,
            "top1": best.top1,
            "candidates": len(ranking.candidates),
            "clueless": sum(candidate.clueless for candidate in ranking.candidates),
            "frames": ranking.frames,
        },
    }


def _rows(ranking: Ranking | None) -> list[tuple[str, str, str, str]]:
    cell = lambda value: "" if value is None else f"{value:.6f}"  # noqa: E731
    return [
        (one.template, cell(one.sharpness), cell(one.top1), "clueless" if one.clueless else "" if place else "chosen")
        for place, one in enumerate(ranking.candidates if ranking else ())
    ]


def _tell(words: Words, ranking: Ranking | None) -> None:
    if words.dropped:
        print(f"label: {len(words.background)} background phrases; left out{_left_out(words)}")
    if ranking is None:
        return
    best, number = ranking.candidates[0], len(ranking.candidates)
    if ranking.enough:
        clueless = sum(candidate.clueless for candidate in ranking.candidates)
        print(
            f"label: {best.template!r} is the sharpest of {number} templates: {best.sharpness:.4f} on {ranking.frames} "
            f"frames of two classes or more, best guess right in {best.top1:.1%}; {clueless} too clueless to count"
        )
        return
    why = "no frame shows any class" if best.top1 is None else f"its best guess is right most often, in {best.top1:.1%}"
    print(
        f"label: {ranking.frames} of {ranking.looked_at} frames show two classes or more, too few to tell templates "
        f"apart by sharpness ({FEWEST} are needed); of {number} it is {best.template!r}: {why}"
    )


def _left_out(words: Words) -> str:
    by_words, by_meaning = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for one in words.dropped:
        if one.similarity is None:
            by_words[one.means].append(one.phrase)
        else:
            by_meaning[one.means].append(f"{one.phrase} {one.similarity:.2f}")
    told = f", since they name a class: {_by_class(by_words)}" if by_words else ""
    if by_meaning:
        told += f"{';' if told else ','} since they mean one to this model (cosine above {words.cut:.2f}): "
        told += _by_class(by_meaning)
    return told


def _by_class(phrases: dict[str, list[str]]) -> str:
    return "; ".join(f"{', '.join(own)} ({name})" for name, own in phrases.items())
