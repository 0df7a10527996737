"""Chooses the prompts of the image-text model: background phrases, and a template where it may.

Both are chosen once, by the label stage, and stored in data/labels/prompts.json for all stages that encode text. The
model is loaded only for what needs it: `background: auto`, whose phrases it compares with the classes, and
`clip.templates: sharpest`, for which it encodes a sample of frames, each once for all templates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from wildseg.artifacts.prompts import DroppedPhrase, PromptSet
from wildseg.encoders.prompts import COMPETITORS, named
from wildseg.execution.failures import Failures
from wildseg.execution.run_frames import run_frames
from wildseg.labels.decide import apply_overrides
from wildseg.labels.sharpness import Ranking, rank
from wildseg.labels.tiles import stacked
from wildseg.stages.tasks.label import grid_of, result_of
from wildseg.stages.tasks.prompts import SynonymTask, TemplateTask

if TYPE_CHECKING:
    from wildseg.artifacts.frames import Frame
    from wildseg.stages.label_inference import LabelJob


def choose(
    job: LabelJob,
    background: Sequence[str] | Literal["auto"],
    frames: Sequence[Frame],
    overrides: Mapping[str, np.ndarray],
) -> tuple[PromptSet, Ranking | None]:
    """Return the prompts, and the ranking of the templates where there is one.

    Args:
        job: the classes, the model, the label method.
        background: phrases, taken as they are, or ``"auto"``.
        frames: all key frames; templates are ranked on those of the training split.
        overrides: by frame (K,) bool, what a person says.

    Raises:
        DataError: none of the frames of the sample can be read.
        ModelError: the model cannot be had.
    """
    templates = _templates(job)
    ranked = job.clip.templates == "sharpest"
    if isinstance(background, str):
        # All candidates would make thousands of sentences of it; the first is the plainest.
        prompts = without_classes(job, templates[:1] if ranked else templates)
    else:
        prompts = PromptSet(templates, tuple(background))
    if not ranked:
        return prompts, None
    prompts = replace(prompts, templates=templates)
    ranking = _rank(job, prompts, sample(frames, job.clip.sharpest.frames), overrides)
    return replace(prompts, templates=(ranking.best,)), ranking


def sample(frames: Sequence[Frame], most: int) -> list[str]:
    """Return the names of at most `most` frames of the training split (of all, if it is empty), evenly spread."""
    names = [frame.name for frame in frames if frame.split == "train"] or [frame.name for frame in frames]
    number = min(most, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * number)] for index in range(number)]


def without_classes(job: LabelJob, templates: tuple[str, ...]) -> PromptSet:
    """Return the built-in background phrases without those that name a class, or mean one to the model."""
    names, phrases = job.classes.names, job.classes.phrases
    lexical = named(COMPETITORS, phrases)
    rest = tuple(phrase for phrase in COMPETITORS if phrase not in lexical)
    task = SynonymTask(job.artifacts.root, job.clip, rest, phrases, templates)
    cut, matches = run_frames(task, ["background"], job.runtime, progress="").records["background"]
    similar = {phrase: (index, similarity) for phrase, index, similarity in matches}
    dropped = [DroppedPhrase(phrase, names[index], None) for phrase, index in lexical.items()]
    dropped += [DroppedPhrase(phrase, names[index], round(value, 4)) for phrase, (index, value) in similar.items()]
    remaining = tuple(phrase for phrase in rest if phrase not in similar)
    return PromptSet(templates, remaining, tuple(dropped), None if cut is None else round(cut, 4))


def _templates(job: LabelJob) -> tuple[str, ...]:
    """Return the templates of params.yaml, or all candidates."""
    if not isinstance(job.clip.templates, str):
        return job.clip.templates
    if not isinstance(job.clip.sharpest.candidates, str):
        return job.clip.sharpest.candidates
    from wildseg.encoders.candidates import builtin_templates

    return builtin_templates()


def _rank(job: LabelJob, prompts: PromptSet, frames: Sequence[str], overrides: Mapping[str, np.ndarray]) -> Ranking:
    """Rank the templates of `prompts`; the present classes are those of the label method with all of them."""
    # Methods without the encoder come first, since what is wrong with a table is then an error at once.
    failures = Failures("label", 1.0, len(frames))  # counted when all frames are labelled
    by_encoder = "encoder" in job.needs
    elsewhere = {} if by_encoder else job.infer_here(prompts, frames, failures)
    labelling = job.task(prompts) if by_encoder else None
    task = TemplateTask(job.artifacts.root, job.clip, job.classes.phrases, prompts, labelling)
    found = run_frames(task, failures.without(frames), job.runtime, failures, progress="label: templates")
    labels = [elsewhere.get(frame) or result_of(found.records[frame][1]) for frame in found.frames]
    by_hand = {frame: overrides[frame] for frame in found.frames if frame in overrides}
    tiles = job.decide_tiles(labels, stacked(labels, grid_of(job.label)))  # (n, r, c, K)
    present = apply_overrides(found.frames, np.any(tiles, (1, 2)), by_hand, job.artifacts.overrides_csv)
    probabilities = np.array([found.records[frame][0] for frame in found.frames])
    return rank(prompts.templates, probabilities, present, job.clip.sharpest)


# What is said of background phrases ------------------------------------------------------------------------------


def remarks(prompts: PromptSet, *, compared: bool) -> Iterator[str]:
    """Yield lines on the background phrases that were left out; `compared` says that the model was asked."""
    dropped = prompts.dropped
    lexical = [(one.means, one.phrase) for one in dropped if one.similarity is None]
    alike = [(one.means, f"{one.phrase} {one.similarity:.2f}") for one in dropped if one.similarity is not None]
    if lexical:
        yield f"background phrases left out, since they name a class: {_by_class(lexical)}"
    if alike:
        yield (
            f"background phrases left out, since this model finds them as near to a class as its synonyms "
            f"(cosine above {prompts.cut:.2f}): {_by_class(alike)}"
        )
    if compared and prompts.cut is None:
        yield (
            "this model finds synonyms no nearer to each other than other phrases; no background phrase is left "
            "out by how near it is to a class"
        )
    if dropped:
        yield f"{len(prompts.background)} background phrases compete: {', '.join(prompts.background) or 'none'}"


def _by_class(phrases: Sequence[tuple[str, str]]) -> str:
    of_class = defaultdict[str, list[str]](list)
    for name, phrase in phrases:
        of_class[name].append(phrase)
    return "; ".join(f"{', '.join(own)} ({name})" for name, own in of_class.items())
