"""Label inference: the label method over frames, in workers where it needs the image-text model, else here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from wildseg.core import lookup
from wildseg.core.errors import DataError, ParamsError
from wildseg.core.progress import note, track
from wildseg.execution import fingerprint
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import catch_data_error
from wildseg.execution.record_cache import StoredRecords
from wildseg.execution.run_frames import run_frames
from wildseg.execution.runtime import Runtime, torch_device, worker_device
from wildseg.labels.decide import present_classes
from wildseg.labels.interface import LabelResult
from wildseg.labels.language.messages import ChatModel, LanguageModels
from wildseg.stages.tasks.label import LabelTask, grid_of, label_frames, request_of, result_of

if TYPE_CHECKING:
    from wildseg.artifacts.project import Artifacts
    from wildseg.artifacts.prompts import PromptSet
    from wildseg.core.classes import Classes
    from wildseg.encoders.clip import Clip
    from wildseg.encoders.params import Clip as ClipParams
    from wildseg.labels.params import Label, Language


@dataclass(frozen=True)
class LabelJob:
    """The classes that frames are labelled with, the models and the method, and where it runs."""

    classes: Classes
    clip: ClipParams
    label: Label
    artifacts: Artifacts
    runtime: Runtime

    @property
    def needs(self) -> frozenset[str]:
        """What the label method must be given: ``encoder``, the image-text model; ``language``, language models."""
        return lookup.needs("methods.labels", self.label.method)

    def task(self, prompts: PromptSet) -> LabelTask:
        """Return what labels a frame, for a method that needs the encoder."""
        return LabelTask(self.artifacts.root, self.classes, self.clip, self.label, prompts)

    def infer(self, prompts: PromptSet, frames: Sequence[str], failures: Failures) -> tuple[list[LabelResult], str]:
        """Return the results for those of `frames` that can be read, and in a few words how many were cached.

        Raises:
            DataError: too many frames cannot be read, or are refused an answer.
            ModelError: the model cannot be had.
        """
        if "encoder" in self.needs:
            results = run_frames(self.task(prompts), frames, self.runtime, failures)
            return [result_of(results.records[frame]) for frame in results.frames], str(results)
        found = [*self.infer_here(prompts, frames, failures).values()]
        if "language" not in self.needs:
            return found, ""
        self.replies.note()
        return found, str(self.replies)

    def infer_here(self, prompts: PromptSet, frames: Sequence[str], failures: Failures) -> dict[str, LabelResult]:
        """Return the results, by frame, of a method that does not need the encoder, but for frames that fail.

        Raises:
            DataError: too many frames cannot be read, or are refused an answer.
            ModelError: the model cannot be had.
        """
        if "language" in self.needs:
            frames = self._readable(frames, failures)
        request = request_of(self.artifacts.root, self.classes, prompts, grid_of(self.label))(
            encoder=lru_cache(maxsize=1)(self._load_clip),
            definitions=self.label.language.definitions,
            language=self._language_models,
        )
        results = label_frames(self.artifacts.root, frames, request, self.label)
        found = {}
        for frame, result in zip(frames, track(results, len(frames), "label"), strict=True):
            if result.failed is None:
                found[frame] = result
            else:
                failures.add(frame, f"{frame}: {result.failed}; label.max_failures says how many may be left out")
        return found

    def decide_tiles(self, results: Sequence[LabelResult], scores: np.ndarray) -> np.ndarray:
        """Return which classes are present in each tile, (n, r, c, K) bool, by the rule of params.yaml.

        Args:
            results: of n frames.
            scores: (n, r, c, K) those of the results, or what smoothing made of them.
        """
        flat = scores.reshape(-1, scores.shape[-1])
        return present_classes(flat, self.classes.names, results[0], self.label).reshape(scores.shape)

    def _readable(self, frames: Sequence[str], failures: Failures) -> list[str]:
        # A conversation about several frames is no place to find that one is broken.
        for frame in frames:
            if isinstance(error := catch_data_error(self.artifacts.load_image, frame), DataError):
                failures.add(frame, str(error))
        return failures.without(frames)

    # Models ------------------------------------------------------------------------------------------------------

    def _load_clip(self) -> Clip:
        from wildseg.encoders import clip

        device = worker_device(self.runtime.device, rank=0)
        model = clip.load_chosen(self.clip, device=device, root=self.artifacts.root)
        note("label", model.notes)
        return model

    @cached_property
    def replies(self) -> StoredRecords:
        """What language models replied, now and in other runs."""
        return StoredRecords(self.artifacts.root, "language")

    @cached_property
    def _digests(self) -> StoredRecords:
        # Of large files of weights, by where and how large they are and when they were written.
        return StoredRecords(self.artifacts.root, "weights")

    def _language_models(self) -> LanguageModels:
        seeing = self.label.language
        reading = replace(seeing, model=seeing.text_model or seeing.model, server=seeing.text_server or seeing.server)
        vision = self._chat_model(seeing)
        text = vision if reading == seeing else self._chat_model(reading)
        return LanguageModels(vision, text, self.replies, seeing)

    def _chat_model(self, language: Language) -> ChatModel:
        model = language.model
        if not model:
            raise ParamsError(
                f"label.language.model: expected the model that {self.label.method} asks (the server's name for it, or "
                "a folder or name of weights), found none"
            )
        if language.server is None:
            from wildseg.labels.language.local import LocalModel

            device = partial(torch_device, self.runtime.device)
            code, digests = fingerprint.digest(LocalModel.__module__), self._digests
            root, constrained = self.artifacts.root, language.constrained
            return LocalModel(model, root, device, constrained=constrained, digests=digests, code=code)
        from wildseg.labels.language.server import ServerModel

        code = fingerprint.digest(ServerModel.__module__)
        runtime, constrained = self.runtime, language.constrained
        return ServerModel(language.server, model, constrained, runtime.requests, runtime.per_minute, code)
