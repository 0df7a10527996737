"""What a label method is given and what it answers.

A method is a file in `labels/methods` with ``label(frames, question, *, <options>)``: it takes frames and yields one
`LabelResult` per frame, in their order. Its options are its keyword-only arguments. A method that says
``NEEDS = {"encoder"}`` is asked about one frame at a time, by several processes; any other about all frames at once.
``NEEDS = {"language"}`` asks a language model, and is not given frames that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from wildseg.encoders.clip import Clip
    from wildseg.labels.language.messages import LanguageModels


@dataclass(frozen=True)
class NamedImage:
    """A frame: its name, and its pixels once somebody asks for them."""

    name: str
    load: Callable[[], np.ndarray]  # (H, W, 3) uint8 RGB


@dataclass(frozen=True)
class LabelRequest:
    """Which classes to look for, and what a method may need to do so.

    phrases: the synonyms of each class, in the order of `class_names`. background: phrases that compete with the
    classes. encoder: loads the image-text model, when first called. read_labels: reads a table of labels, a (K,) bool
    per frame, from a path below the project folder. definitions: what classes mean, one line each, for those that have
    one. language: the language models, when first called.
    """

    class_names: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    background: tuple[str, ...]
    templates: tuple[str, ...]
    encoder: Callable[[], Clip]
    read_labels: Callable[[str], Mapping[str, np.ndarray]]
    definitions: Mapping[str, str] = field(default_factory=dict)
    language: Callable[[], LanguageModels] | None = None


@dataclass(frozen=True)
class LabelResult:
    """What a method found in one frame.

    scores: (K,) float in [0, 1]. threshold: where this kind of score is best cut. record: what a method has to say
    beside its scores, such as a language model's words. relative: the threshold is a share of the way from the frame's
    lowest score to its highest, see `wildseg.labels.decide`. failed: why there is no answer about this frame; its
    scores mean nothing then, and it is to be set aside.
    """

    scores: np.ndarray
    threshold: float
    record: Mapping[str, Any] = field(default_factory=dict)
    relative: bool = False
    failed: str | None = None
