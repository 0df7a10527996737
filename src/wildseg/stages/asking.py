"""Asks a label method about frames: by workers that each hold the image-text model where it needs one, else here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.project import Artifacts, Words
from wildseg.core import lookup
from wildseg.core.classes import Classes
from wildseg.core.errors import DataError, ParamsError
from wildseg.core.progress import note, track
from wildseg.encoders.params import Clip as ClipParams
from wildseg.encoders.weights import identity
from wildseg.execution import fingerprint, frame_task, result_store
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import Cache
from wildseg.execution.runtime import Runtime, torch_device, worker_device
from wildseg.execution.workers import crew, gpus
from wildseg.labels.interface import Answer, NamedImage, Question
from wildseg.labels.language.messages import Language, Manner, Speaker
from wildseg.labels.params import Label

if TYPE_CHECKING:  # workers import torch, all at the same time; this process has no use for it
    from wildseg.encoders.clip import Clip


@dataclass(frozen=True)
class Setting:
    """What is asked about, which model and method answer, and on what."""

    classes: Classes
    clip: ClipParams
    label: Label
    artifacts: Artifacts
    runtime: Runtime

    @property
    def by_encoder(self) -> bool:
        """Whether the label method needs the image-text model."""
        return "encoder" in lookup.needs("methods.labels", self.label.method)

    def load_clip(self, rank: int) -> Clip:
        """Load the image-text model for the worker `rank`."""
        from wildseg.encoders import clip

        device = worker_device(self.runtime.device, rank)
        model = clip.load(self.clip.model, self.clip.pretrained, device=device, root=self.artifacts.root)
        note("label", model.notes if rank == 0 else ())
        return model

    @property
    def by_language(self) -> bool:
        """Whether the label method asks a language model."""
        return "language" in lookup.needs("methods.labels", self.label.method)

    @cached_property
    def memory(self) -> Remembered:
        """What language models answered, now and in other runs."""
        return Remembered(result_store.Store.of(self.artifacts.root, "language"))

    @cached_property
    def digests(self) -> Remembered:
        """The digests of large files of weights, by where and how large they are and when they were written."""
        return Remembered(result_store.Store.of(self.artifacts.root, "weights"))

    def language(self) -> Language:
        """Return the language models, and how they are asked."""
        wish = self.label.language
        votes = (wish.votes.number, wish.votes.shuffle, wish.votes.flip, wish.votes.ties == "present")
        manner = Manner(wish.temperature, wish.seed, wish.max_tokens, wish.max_side, wish.reminder, *votes)
        vision = self._speaker(wish.model, wish.server)
        reader = wish.text_model or wish.model, wish.text_server or wish.server
        text = vision if reader == (wish.model, wish.server) else self._speaker(*reader)
        return Language(vision, text, self.memory, manner)

    def _speaker(self, model: str | None, server: str | None) -> Speaker:
        if not model:
            raise ParamsError(
                f"label.language.model: expected the model that {self.label.method} asks (the server's name for it, or "
                "a folder or name of weights), found none"
            )
        if server is None:
            from wildseg.labels.language.local import Local

            device = partial(torch_device, self.runtime.device)
            constrained = self.label.language.constrained
            return Local(model, self.artifacts.root, device, constrained=constrained, digests=self.digests)
        from wildseg.labels.language.server import Server

        return Server(server, model, self.label.language.constrained, self.runtime.requests, self.runtime.per_minute)

    def answers(self, frames: Sequence[str], words: Words, rank: int = 0, clip: Clip | None = None) -> Iterator[Answer]:
        """Ask the label method about `frames`; `clip` is the model, to be loaded if it is asked for and not given."""
        encoder = lru_cache(maxsize=1)(lambda: clip or self.load_clip(rank))
        question = Question(
            self.classes.names,
            self.classes.phrases,
            words.background,
            words.templates,
            encoder,
            lambda path: self.artifacts.load_labels(self.classes.names, self.artifacts.root / path),
            self.label.language.definitions,
            self.language,
        )
        method = lookup.load("methods.labels", self.label.method, "label.method")
        images = [NamedImage(frame, partial(self.artifacts.load_image, frame)) for frame in frames]
        return method.label(images, question, **self.label.options.get(self.label.method, {}))

    def ingredients(self) -> dict[str, Any]:
        """Return what any answer of the method or the model depends on beside the words, for a recipe of the cache."""
        method = self.label.method
        return {
            "method": [method, self.label.options.get(method, {})],
            "model": identity(self.clip.model, self.clip.pretrained, self.artifacts.root),
            "code": fingerprint.digest("wildseg.stages.asking", f"wildseg.methods.labels.{method}"),
            "libraries": result_store.versions("torch", "open_clip_torch", "timm", "transformers", "numpy", "pillow"),
            "devices": gpus(self.runtime)[:1],
        }


class Remembered:
    """Keeps records by all that they depend on, such as what language models answered; see `messages.Memory`."""

    def __init__(self, store: result_store.Store) -> None:
        """Remember where."""
        self.store = store
        self.hits = 0
        self.misses = 0

    def get(self, parts: Sequence[Any]) -> Any:  # noqa: ANN401
        """Return the record that was kept, or None."""
        entry = self.store.get(result_store.key_of(parts))
        self.hits += entry is not None
        return None if entry is None else entry.record

    def put(self, parts: Sequence[Any], record: Mapping[str, Any]) -> None:
        """Keep a record."""
        self.misses += 1
        self.store.put(result_store.key_of(parts), result_store.Entry(record))

    def __str__(self) -> str:
        """Say how many answers were kept, in a few words for the line that a stage prints; empty if none was."""
        return f", {self.hits} of {self.hits + self.misses} answers from the cache" if self.hits else ""


def ask(setting: Setting, words: Words, frames: Sequence[str], failures: Failures) -> tuple[list[Answer], str]:
    """Return the answers about those of `frames` that can be read, and in a few words how many the cache knew.

    Raises:
        DataError: too many frames cannot be read.
        ModelError: the model cannot be had.
    """
    if not setting.by_encoder:
        told = told_about(setting, words, frames, failures)
        answers = list(told.values())
        if setting.by_language:
            result_store.note(setting.memory.store, "language", setting.memory.hits, setting.memory.misses)
        return answers, str(setting.memory) if setting.by_language else ""
    ingredients = {**setting.ingredients(), "words": [setting.classes, words.background, words.templates]}
    recipe = frame_task.Recipe(ingredients, partial(frame_bytes, setting.artifacts), no_files, _answer)
    kept = Cache(setting.artifacts.root, "label", recipe)
    ready = partial(prepare, setting, words)
    workers = lambda number: crew(setting.runtime, number, ready, model=True)  # noqa: E731
    records = dict(track(kept.serve(frames, workers, failures=failures), len(frames), "label"))
    in_order = (records[frame] for frame in failures.without(frames))
    return [Answer(np.array(scores), *rest) for scores, *rest in in_order], str(kept)


def told_about(setting: Setting, words: Words, frames: Sequence[str], failures: Failures) -> dict[str, Answer]:
    """Return what a label method says of `frames` that does not ask the image-text model, but for those that fail.

    Raises:
        DataError: too many frames cannot be read, or are refused an answer.
        ModelError: the model cannot be had.
    """
    if setting.by_language:
        frames = readable(setting, frames, failures)
    told = {}
    for frame, answer in zip(frames, track(setting.answers(frames, words), len(frames), "label"), strict=True):
        if answer.failed is None:
            told[frame] = answer
        else:
            failures.add(frame, f"{frame}: {answer.failed}; label.max_failures says how many may be left out")
    return told


def readable(setting: Setting, frames: Sequence[str], failures: Failures) -> list[str]:
    """Return those of `frames` that can be read, and note the others.

    A conversation about several frames is no place to find that one is broken.

    Raises:
        DataError: there are too many.
    """
    for frame in frames:
        if isinstance(error := frame_task.met(setting.artifacts.load_image, frame), DataError):
            failures.add(frame, str(error))
    return failures.without(frames)


def frame_bytes(artifacts: Artifacts, frame: str) -> tuple[bytes]:
    """Return what an answer about a frame depends on."""
    return (artifacts.frame_bytes(frame),)


def no_files(_: object) -> dict[str, Path]:
    """Return no output files: labels of all frames stand in one table."""
    return {}


# In a worker -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tools:
    """What a worker holds that asks the image-text model."""

    setting: Setting
    words: Words
    clip: Clip


def prepare(setting: Setting, words: Words, rank: int) -> Tools:
    """Load the model for the worker `rank`."""
    return Tools(setting, words, setting.load_clip(rank))


def _answer(frame: str, tools: Tools) -> result_store.Entry:
    (answer,) = tools.setting.answers([frame], tools.words, clip=tools.clip)
    return result_store.Entry((answer.scores.tolist(), answer.threshold, dict(answer.record), answer.relative))
