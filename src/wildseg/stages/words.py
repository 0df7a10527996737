"""Decides the words that the image-text model is asked with: background phrases, and templates where it may choose.

Both are decided once, by the label stage, and kept in data/labels/prompts.json for all that ask the model after it. The
model is loaded only for what needs it: `background: auto`, whose phrases it compares with the classes, and
`clip.templates: sharpest`, for which it looks at a sample of frames, each encoded once for all templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wildseg.artifacts.project import Dropped, Frame, Words
from wildseg.core.progress import track
from wildseg.encoders.meaning import PAIRS, same_meaning
from wildseg.encoders.prompts import COMPETITORS, named
from wildseg.execution import fingerprint
from wildseg.execution import old_frame_task as frame_task
from wildseg.execution.failures import Failures
from wildseg.execution.old_frame_task import Cache
from wildseg.execution.result_store import Entry
from wildseg.execution.worker_pool import worker_pool as crew
from wildseg.labels.decide import correct, decide, rule_of
from wildseg.labels.interface import Answer
from wildseg.labels.sharpness import Ranking, rank
from wildseg.stages.asking import Setting, Tools, frame_bytes, no_files, prepare, told_about

if TYPE_CHECKING:  # workers import torch, all at the same time; this process has no use for it
    import torch

    from wildseg.encoders.clip import Clip


def choose(
    setting: Setting,
    background: Sequence[str] | Literal["auto"],
    frames: Sequence[Frame],
    overrides: Mapping[str, np.ndarray],
) -> tuple[Words, Ranking | None]:
    """Return the words to ask with, and how the templates were ranked, where they were.

    Args:
        setting: the classes, the model, the label method.
        background: phrases, taken as they are, or ``"auto"``.
        frames: all key frames; those of the training split are looked at.
        overrides: by frame (K,) bool, what a person says.

    Raises:
        DataError: none of the frames that are looked at can be read.
        ModelError: the model cannot be had.
    """
    templates = _templates(setting)
    among = setting.clip.templates == "sharpest"
    if isinstance(background, str):
        # All candidates would make thousands of sentences of it; the first is the plainest.
        words = without_classes(setting, templates[:1] if among else templates)
    else:
        words = Words(templates, tuple(background))
    if not among:
        return words, None
    words = replace(words, templates=templates)
    ranking = _ranking(setting, words, sample(frames, setting.clip.sharpest.frames), overrides)
    return replace(words, templates=(ranking.best,)), ranking


def sample(frames: Sequence[Frame], most: int) -> list[str]:
    """Return the names of at most `most` frames of the training split (of all, if it is empty), evenly spread."""
    names = [frame.name for frame in frames if frame.split == "train"] or [frame.name for frame in frames]
    number = min(most, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * number)] for index in range(number)]


def _templates(setting: Setting) -> tuple[str, ...]:
    """Return the templates of params.yaml, or all candidates."""
    if not isinstance(setting.clip.templates, str):
        return setting.clip.templates
    if not isinstance(setting.clip.sharpest.candidates, str):
        return setting.clip.sharpest.candidates
    from wildseg.encoders.candidates import built_in

    return built_in()


# Background phrases ----------------------------------------------------------------------------------------------


def without_classes(setting: Setting, templates: tuple[str, ...]) -> Words:
    """Return the built-in background phrases without those that name a class, or mean one to the model."""
    names, phrases = setting.classes.names, setting.classes.phrases
    lexical = named(COMPETITORS, phrases)
    rest = [phrase for phrase in COMPETITORS if phrase not in lexical]
    asked = tuple(dict.fromkeys([*rest, *(word for pair in PAIRS for word in pair)]))
    ingredients = {**_ingredients(setting), "meaning": [phrases, templates, asked]}
    recipe = frame_task.Recipe(ingredients, _no_inputs, no_files, partial(_compare, rest))
    kept = Cache(setting.artifacts.root, "words", recipe)
    ready = partial(prepare, setting, Words(templates, asked))
    workers = lambda number: crew(setting.runtime, number, ready, model=True)  # noqa: E731
    ((_, (cut, matches)),) = kept.serve(["background"], workers)
    similar = {phrase: (index, similarity) for phrase, index, similarity in matches}
    found = [Dropped(phrase, names[index], None) for phrase, index in lexical.items()]
    found += [Dropped(phrase, names[index], round(value, 4)) for phrase, (index, value) in similar.items()]
    remaining = tuple(phrase for phrase in rest if phrase not in similar)
    return Words(templates, remaining, tuple(found), None if cut is None else round(cut, 4))


def _no_inputs(_: object) -> tuple[()]:
    return ()


def _compare(phrases: list[str], _: str, tools: Tools) -> Entry:
    """Return up to where phrases mean the same, a cosine or None, and the (phrase, class, similarity) that do."""
    classes, templates = tools.setting.classes.phrases, tools.words.templates
    vectors = lambda own: tools.clip.classifier([(phrase,) for phrase in own], templates).cpu().double().numpy()  # noqa: E731
    cut, matches = same_meaning(
        phrases, vectors(phrases), [vectors(own) for own in classes], [vectors(p) for p in PAIRS]
    )
    return Entry((cut, [(match.phrase, match.index, match.similarity) for match in matches]))


# Templates -------------------------------------------------------------------------------------------------------


def _ranking(setting: Setting, words: Words, frames: Sequence[str], overrides: Mapping[str, np.ndarray]) -> Ranking:
    """Rank the templates of `words`; which classes are present says the label method, asked with all of them."""
    # Others than the model are asked first, since what is wrong with a table is then told at once.
    failures = Failures("label", 1.0, len(frames))  # counted when all frames are asked about
    told = {} if setting.by_encoder else told_about(setting, words, frames, failures)
    frames = failures.without(frames)
    ingredients = {**_ingredients(setting), "words": [setting.classes, words.background, words.templates]}
    recipe = frame_task.Recipe(ingredients, partial(frame_bytes, setting.artifacts), no_files, _look)
    kept = Cache(setting.artifacts.root, "words", recipe)
    workers = lambda number: crew(setting.runtime, number, partial(prepare, setting, words), model=True)  # noqa: E731
    records = dict(track(kept.serve(frames, workers, failures=failures), len(frames), "label: templates"))
    frames = failures.without(frames)
    answers = [told.get(frame) or _as_answer(*records[frame][1:]) for frame in frames]
    scores, label = np.stack([answer.scores for answer in answers]), setting.label
    natural, relative = rule_of(answers[0], label.rule)
    present = decide(scores, setting.classes.names, natural, label.threshold, label.fallback, relative=relative)
    by_hand = {frame: overrides[frame] for frame in frames if frame in overrides}
    present = correct(frames, present, by_hand, setting.artifacts.overrides_csv)
    belief = np.array([records[frame][0] for frame in frames])
    how = setting.clip.sharpest
    return rank(words.templates, belief, present, how.reduction, how.guard)


def _as_answer(scores: list[float], threshold: float, relative: bool) -> Answer:
    return Answer(np.array(scores), threshold, relative=relative)


def _ingredients(setting: Setting) -> dict[str, Any]:
    return {**setting.ingredients(), "words code": fingerprint.digest("wildseg.stages.words")}


# In a worker -----------------------------------------------------------------------------------------------------


def _look(frame: str, tools: Tools) -> Entry:
    """Return the belief of each template in each class, (T, C), and the label method's scores, threshold, relative."""
    belief = beliefs(tools.clip, tools.setting.artifacts.load_image(frame), _texts(tools)).tolist()
    if not tools.setting.by_encoder:
        return Entry((belief, [], 0.0, False))
    (answer,) = tools.setting.answers([frame], tools.words, clip=tools.clip)
    return Entry((belief, answer.scores.tolist(), answer.threshold, answer.relative))


def _texts(tools: Tools) -> torch.Tensor:
    # With the background where the label method asks the same model: its sentences are then computed once for both.
    background = ((phrase,) for phrase in (tools.words.background if tools.setting.by_encoder else ()))
    phrases = tools.setting.classes.phrases
    return tools.clip.sentence_features((*phrases, *background), tools.words.templates)[: len(phrases)]


def beliefs(clip: Clip, image: np.ndarray, texts: torch.Tensor) -> torch.Tensor:
    """Return the softmax over the classes of one look at the whole frame, for each template: (T, C).

    Args:
        clip: the model.
        image: (H, W, 3) uint8 RGB.
        texts: (C, T, d) unit features, see `Clip.sentence_features`.
    """
    from wildseg.labels.views import WHOLE, look

    pixels = clip.pixels([look(image, WHOLE, clip.size, "squash", clip.mean)])
    logits = clip.logits(clip.image_features(pixels), texts.flatten(0, 1)).unflatten(-1, texts.shape[:2])[0]  # (C, T)
    return logits.T.cpu().double().softmax(-1)
