"""The labels of one frame by a method that encodes it with the image-text model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.labels import Labels
from wildseg.artifacts.prompts import PromptSet
from wildseg.core import lookup
from wildseg.encoders.weights import identity
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry, fields_but
from wildseg.labels import tiles
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.tiles import Grid

if TYPE_CHECKING:  # workers import torch, all at the same time; the process of the stage has no use for it
    from wildseg.core.classes import Classes
    from wildseg.encoders.clip import Clip
    from wildseg.encoders.params import Clip as ClipParams
    from wildseg.labels.params import Label

AFTER_SCORES = ("rule", "threshold", "fallback", "smooth_s", "max_failures")  # parameters of what follows
ELSEWHERE = ("options", "language", "grid")  # in the key, if at all, in another form


@dataclass
class LabelTask(FrameTask[str]):
    """Scores of all classes by one label method.

    clip: the image-text model. label: the section of params.yaml. prompts: templates, and phrases that compete with the
    classes.
    """

    classes: Classes
    clip: ClipParams
    label: Label
    prompts: PromptSet

    model: Clip = field(init=False, repr=False)

    stage = "label"
    libraries = ("torch", "open_clip_torch", "timm", "transformers", "numpy", "pillow")
    uses_model = True

    def depends_on(self) -> dict[str, Any]:
        """Return the method, the model and the prompts, and nothing that is applied to scores.

        A class counts by its phrases: what its name is, no encoder reads, and `compute` gives none.
        """
        scoring = fields_but(self.label, *AFTER_SCORES, *ELSEWHERE)
        grid = {} if self.label.grid == tiles.WHOLE else {"grid": self.label.grid}
        return {
            "label": scoring | {"options": self.label.options.get(self.label.method, {})} | grid,
            "model": identity(self.clip, self.root),
            "prompts": [self.classes.phrases, self.prompts.background, self.prompts.templates],
        }

    def methods(self) -> tuple[str, ...]:
        """Return the module of the label method."""
        return (f"wildseg.methods.labels.{self.label.method}",)

    def inputs(self, item: str) -> tuple[bytes]:
        """Return the bytes of the frame."""
        return (KeyFrames(self.root).frame_bytes(item),)

    def setup(self, device: str) -> Sequence[str]:
        """Load the image-text model.

        Raises:
            ModelError: it cannot be had.
        """
        from wildseg.encoders import clip

        self.model = clip.load_chosen(self.clip, device=device, root=self.root)
        return self.model.notes

    def compute(self, item: str) -> Entry:
        """Return the result of the method as a record, see `result_of`; labels of all frames are in one table."""
        request = request_of(self.root, self.classes, self.prompts, grid_of(self.label))
        nameless = tuple(f"class {number}" for number in range(len(self.classes)))
        frame = request(encoder=lambda: self.model, class_names=nameless)
        (result,) = label_frames(self.root, [item], frame, self.label)
        own = () if result.tiles is None else (result.tiles.tolist(),)
        return Entry((result.scores.tolist(), result.threshold, dict(result.record), result.relative, *own))


def result_of(record: Sequence[Any]) -> LabelResult:
    """Return what `LabelTask.compute` made a record of."""
    scores, threshold, said, relative, *of_tiles = record
    own = np.array(of_tiles[0]) if of_tiles else None
    return LabelResult(np.array(scores), threshold, said, relative, tiles=own)


def request_of(root: Path, classes: Classes, prompts: PromptSet, grid: Grid) -> partial[LabelRequest]:
    """Return a `LabelRequest` but for the models that a method may need."""
    return partial(
        LabelRequest,
        class_names=classes.names,
        phrases=classes.phrases,
        background=prompts.background,
        templates=prompts.templates,
        read_labels=lambda path: Labels(root).load_labels(classes.names, root / path),
        grid=grid,
        read_tiles=lambda path: Labels(root).load_given_tiles(classes.names, root / path, grid),
    )


def label_frames(root: Path, frames: Sequence[str], request: LabelRequest, label: Label) -> Iterator[LabelResult]:
    """Yield what the label method finds in each frame, in order."""
    images = [NamedImage(frame, partial(KeyFrames(root).load_image, frame)) for frame in frames]
    return label_images(images, request, label)


def label_images(images: Sequence[NamedImage], request: LabelRequest, label: Label) -> Iterator[LabelResult]:
    """Yield what the label method finds in each image, in order; with a grid, in each tile of it."""
    method = lookup.load("methods.labels", label.method, "label.method")
    options = label.options.get(label.method, {})
    if request.grid == tiles.WHOLE or getattr(method, "BY_TILE", False):
        return method.label(images, request, **options)
    crops = [tile for image in images for tile in tiles.crops(image, request.grid)]
    return tiles.merge(method.label(crops, request, **options), request.grid)


def grid_of(label: Label) -> Grid:
    """Return the rows and columns of tiles."""
    return label.grid[0], label.grid[1]
