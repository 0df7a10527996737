"""What prompts are chosen by: which background phrases mean a class, and what each template makes of one frame."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.prompts import PromptSet
from wildseg.encoders.synonyms import PAIRS, find_synonyms
from wildseg.encoders.weights import identity
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry
from wildseg.stages.tasks.label import LabelTask

if TYPE_CHECKING:  # workers import torch, all at the same time; the process of the stage has no use for it
    from wildseg.encoders.clip import Clip
    from wildseg.encoders.params import Clip as ClipParams


@dataclass
class SynonymTask(FrameTask[str]):
    """Which of the background phrases mean a class to the image-text model; one item stands for all of them.

    phrases: to be compared. class_phrases: the synonyms of each class. templates: each with ``{}`` for the phrase.
    """

    clip: ClipParams
    phrases: tuple[str, ...]
    class_phrases: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]

    model: Clip = field(init=False, repr=False)

    stage = "label"
    store = "prompts"
    libraries = ("torch", "open_clip_torch", "timm", "transformers", "numpy")
    uses_model = True

    def depends_on(self) -> dict[str, Any]:
        """Return the model and all phrases."""
        model = identity(self.clip, self.root)
        return {"model": model, "phrases": [self.phrases, self.class_phrases, self.templates]}

    def inputs(self, item: str) -> tuple[str]:
        """Return the item."""
        return (item,)

    def setup(self, device: str) -> Sequence[str]:
        """Load the image-text model.

        Raises:
            ModelError: it cannot be had.
        """
        from wildseg.encoders import clip

        self.model = clip.load_chosen(self.clip, device=device, root=self.root)
        return self.model.notes

    def compute(self, item: str) -> Entry:
        """Return the cosine from which phrases mean the same, or None, and (phrase, class, cosine) of those that do."""
        classes, pairs = [self._vectors(own) for own in self.class_phrases], [self._vectors(pair) for pair in PAIRS]
        cut, matches = find_synonyms(self.phrases, self._vectors(self.phrases), classes, pairs)
        return Entry((cut, [(match.phrase, match.index, match.similarity) for match in matches]))

    def _vectors(self, phrases: Sequence[str]) -> np.ndarray:
        # (n, d) float64
        return self.model.classifier([(phrase,) for phrase in phrases], self.templates).cpu().double().numpy()


@dataclass
class TemplateTask(FrameTask[str]):
    """The probabilities that each template gives the classes in a frame, and the labels that it is judged by.

    labelling: labels the frame with the same model; None where labels come from elsewhere.
    """

    clip: ClipParams
    class_phrases: tuple[tuple[str, ...], ...]
    prompts: PromptSet
    labelling: LabelTask | None

    model: Clip = field(init=False, repr=False)

    stage = "label"
    store = "prompts"
    libraries = LabelTask.libraries
    uses_model = True

    def depends_on(self) -> dict[str, Any]:
        """Return the model, the prompts, and what labels depend on."""
        return {
            "model": identity(self.clip, self.root),
            "prompts": [self.class_phrases, self.prompts.templates],
            "labelling": self.labelling.depends_on() if self.labelling else None,
        }

    def methods(self) -> tuple[str, ...]:
        """Return the module of the label method."""
        return self.labelling.methods() if self.labelling else ()

    def inputs(self, item: str) -> tuple[bytes]:
        """Return the bytes of the frame."""
        return (KeyFrames(self.root).frame_bytes(item),)

    def setup(self, device: str) -> Sequence[str]:
        """Load the image-text model, once for templates and labels.

        Raises:
            ModelError: it cannot be had.
        """
        from wildseg.encoders import clip

        self.model = clip.load_chosen(self.clip, device=device, root=self.root)
        if self.labelling is not None:
            self.labelling = copy(self.labelling)
            self.labelling.model = self.model
        return self.model.notes

    def compute(self, item: str) -> Entry:
        """Return (probabilities (T, C), the record of the labels or None)."""
        from wildseg.labels.templates import template_probabilities

        # With the background where the label method encodes with the same model: its sentences are then computed once.
        background = [(phrase,) for phrase in self.prompts.background] if self.labelling else []
        sentences = self.model.sentence_features((*self.class_phrases, *background), self.prompts.templates)
        texts = sentences[: len(self.class_phrases)]  # (C, T, d)
        found = template_probabilities(self.model, KeyFrames(self.root).load_image(item), texts).tolist()
        return Entry((found, self.labelling.compute(item).record if self.labelling else None))
