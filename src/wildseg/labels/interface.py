"""The interface of label methods: request and result.

A method is a file in `methods/labels` with ``label(frames, request, *, <options>)`` that yields one `LabelResult` per
frame, in order. Its options are its keyword-only arguments. A method with ``NEEDS = {"encoder"}`` is called with one
frame at a time, by several processes; any other with all frames at once. ``NEEDS = {"language"}`` queries a language
model, and gets readable frames only.

With a grid (`label.grid`) each tile is cropped and labelled as a frame of its own, see `wildseg.labels.tiles`. A method
with ``BY_TILE = True`` gets whole frames even then, and yields `LabelResult.tiles`.
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
    """A frame: its name, and its pixels, decoded on demand."""

    name: str
    load: Callable[[], np.ndarray]  # (H, W, 3) uint8 RGB


@dataclass(frozen=True)
class LabelRequest:
    """The classes to score, and what a method may need for that.

    phrases: the synonyms of each class, in the order of `class_names`. background: phrases that compete with the
    classes. encoder: returns the image-text model, loaded by the first call. read_labels: reads a table of labels,
    (K,) bool per frame, from a path below the project folder. definitions: of classes, one line each, where given.
    language: returns the language models. grid: rows and columns of the tiles that are labelled. read_tiles: reads a
    table of labels of tiles, (r, c, K) bool per frame.
    """

    class_names: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    background: tuple[str, ...]
    templates: tuple[str, ...]
    encoder: Callable[[], Clip]
    read_labels: Callable[[str], Mapping[str, np.ndarray]]
    definitions: Mapping[str, str] = field(default_factory=dict)
    language: Callable[[], LanguageModels] | None = None
    grid: tuple[int, int] = (1, 1)
    read_tiles: Callable[[str], Mapping[str, np.ndarray]] | None = None


@dataclass(frozen=True)
class LabelResult:
    """The scores of one frame.

    scores: (K,) float in [0, 1]. threshold: the default threshold of this kind of score. record: what a method reports
    beside its scores, such as the replies of a language model. relative: the threshold is a share of the range from the
    frame's lowest score to its highest, see `wildseg.labels.decide`. failed: why this frame has no scores; it is to be
    quarantined. tiles: with a grid (r, c, K) in [0, 1], of which `scores` are the maxima.
    """

    scores: np.ndarray
    threshold: float
    record: Mapping[str, Any] = field(default_factory=dict)
    relative: bool = False
    failed: str | None = None
    tiles: np.ndarray | None = None
