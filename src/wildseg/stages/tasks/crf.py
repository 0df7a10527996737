"""The pseudo mask of one frame, and its confidence: from its image and its maps, by dense CRF."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.corrected import CorrectedMasks
from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.maps import Maps
from wildseg.artifacts.masks import PseudoMasks
from wildseg.core.classes import IGNORE
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir, load_bytes
from wildseg.core.images import load_image
from wildseg.core.names import plain
from wildseg.crf.masks import pseudo_mask
from wildseg.crf.pixel_counts import count_ids
from wildseg.crf.prior import weighed
from wildseg.crf.temporal import Seen, Step, Way, averaged
from wildseg.crf.validation import problem
from wildseg.execution.frame_task import FrameTask, catch_data_error
from wildseg.execution.result_store import Entry

if TYPE_CHECKING:
    from wildseg.crf.params import Crf


@dataclass
class CrfTask(FrameTask[str]):
    """Pseudo masks.

    crf: the section of params.yaml. num_classes: how many there are. background: whether a pixel may be of no class.
    corrected: masks that a person corrected, which are taken as they are. priors: by frame (num_classes,), how likely
    each class is there; empty where maps are taken as they are. ways: by frame, those to the neighbours whose maps are
    averaged in.
    """

    crf: Crf
    num_classes: int
    background: bool
    corrected: CorrectedMasks
    priors: Mapping[str, np.ndarray]
    ways: Mapping[str, Sequence[Way]]

    stage = "crf"
    libraries = ("pydensecrf2", "pydensecrf", "numpy", "opencv-python-headless", "pillow")

    def depends_on(self) -> dict[str, Any]:
        """Return the settings of the CRF and what classes there are."""
        return {"crf": replace(self.crf, max_failures=0.0), "classes": [self.num_classes, self.background]}

    def inputs(self, item: str) -> list[Any]:
        """Return the bytes of the frame and of its maps; and of its corrected mask, or of its neighbours, if any."""
        found: list[Any] = [KeyFrames(self.root).frame_bytes(item), self._evidence_bytes(item)]
        if item in self.corrected.paths:
            return [*found, *self.corrected.contents(item)]
        for way in self.ways.get(item, ()):
            found.append("way")  # so that none can be taken for a part of another
            for step in way:
                parts = [catch_data_error(read, step.name) for read in self._readers(step)]
                found += [None if isinstance(part, DataError) else part for part in parts]
        return found

    def _readers(self, step: Step) -> Sequence[Callable[[str], bytes]]:
        if step.is_key:
            return KeyFrames(self.root).frame_bytes, self._evidence_bytes
        return (lambda name: load_bytes(between_path(self.root, name)),)

    def _evidence_bytes(self, name: str) -> bytes:
        return Maps(self.root).maps_bytes(name) + self.priors.get(name, np.zeros(0)).tobytes()

    def outputs(self, item: str) -> dict[str, Path]:
        """Return where the mask and its confidence lie."""
        masks = PseudoMasks(self.root)
        return {"mask": masks.mask_path(item), "confidence": masks.confidence_path(item)}

    def empty_outputs(self) -> None:
        """Empty data/masks and data/masks/confidence."""
        masks = PseudoMasks(self.root)
        empty_dir(masks.masks_folder)
        empty_dir(masks.confidence_folder)

    def pack(self, frames: Sequence[str]) -> None:
        """Pack masks and confidence into shards."""
        PseudoMasks(self.root).pack_masks(frames)

    def compute(self, item: str) -> Entry:
        """Return the mask and its confidence, its pixels by id, and how many classes the frame shows."""
        image = KeyFrames(self.root).load_image(item)
        classes, maps = Maps(self.root).load_maps(item)
        if wrong := problem(classes, maps, self.num_classes, (image.shape[0], image.shape[1])):
            raise DataError(f"maps of the frame {item!r}: {wrong}; run 'dvc repro cam'")
        if item in self.corrected.paths:
            mask = self.corrected.load(item, (image.shape[0], image.shape[1]))
            if not self.background and not mask.all():
                raise DataError(f"{self.corrected.paths[item]}: expected ids from 1, as 'background' is [] and every "
                                "pixel belongs to a class, found 0; 255 leaves a pixel undecided")  # fmt: skip
            confidence = (mask != IGNORE).astype(np.float32)
            return self._entry(mask, confidence, len(classes))
        maps = self._weighed(item, classes, maps)
        neighbours: tuple[int, ...] = ()
        if ways := self.ways.get(item):
            maps, used, cut = averaged(image, classes, maps, map(self._along, ways), self.crf.temporal)
            neighbours = used, cut
        mask, confidence = pseudo_mask(image, classes, maps, self.crf, background=self.background)
        return self._entry(mask, confidence, len(classes), *neighbours)

    @staticmethod
    def _entry(mask: np.ndarray, confidence: np.ndarray, *record: int) -> Entry:
        contents = {"mask": PseudoMasks.encode_mask(mask), "confidence": PseudoMasks.encode_confidence(confidence)}
        return Entry((count_ids(mask), *record), contents)

    # Neighbours: what is wrong with one is said where it is a frame of its own; here it is left out ------------------

    def _along(self, way: Way) -> list[Seen]:
        return list(self._seen(way))

    def _seen(self, way: Way) -> Iterator[Seen]:
        """Yield what the steps of a way show, up to one whose image cannot be read."""
        for step in way:
            image = catch_data_error(self._image, step)
            if isinstance(image, DataError):
                return
            yield Seen(image, self._evidence(step, (image.shape[0], image.shape[1])) if step.is_key else None)

    def _image(self, step: Step) -> np.ndarray:
        if step.is_key:
            return KeyFrames(self.root).load_image(step.name)
        return load_image(between_path(self.root, step.name))

    def _evidence(self, step: Step, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
        found = catch_data_error(Maps(self.root).load_maps, step.name)
        if isinstance(found, DataError):
            return None
        classes, maps = found
        if problem(classes, maps, self.num_classes, shape):
            return None
        return classes, self._weighed(step.name, classes, maps)

    def _weighed(self, name: str, classes: np.ndarray, maps: np.ndarray) -> np.ndarray:
        if not self.priors:
            return maps
        return weighed(maps, self.priors[name][classes], self.crf.label_prior)


def between_path(root: Path, name: str) -> Path:
    """Return where a frame that was decoded for the flow alone lies while the stage runs."""
    return KeyFrames(root).scratch_folder / "between" / f"{plain(name)}.jpg"
