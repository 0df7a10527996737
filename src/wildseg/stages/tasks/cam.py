"""The activation maps of one frame: traced once, one map per class that is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.maps import Maps
from wildseg.cam.blank import count_blank
from wildseg.cam.boxes import cells_inside
from wildseg.core import lookup
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir
from wildseg.encoders.weights import identity
from wildseg.execution.frame_task import FrameTask, catch_data_error
from wildseg.execution.result_store import Entry

if TYPE_CHECKING:  # workers import torch, all at the same time; the process of the stage has no use for it
    import torch

    from wildseg.artifacts.prompts import PromptSet
    from wildseg.cam.engine import CamConfig
    from wildseg.cam.params import Cam
    from wildseg.encoders.clip import Clip
    from wildseg.encoders.params import Clip as ClipParams
    from wildseg.exchange.coco import FrameBoxes


@dataclass(frozen=True)
class LabelledFrame:
    """A frame, the indices of the classes in it, and the boxes that its maps are kept inside of, if there are any."""

    frame: str
    present: list[int]
    limits: FrameBoxes | None = None


@dataclass
class CamTask(FrameTask[LabelledFrame]):
    """Activation maps by one method.

    cam: the section of params.yaml. clip: the image-text model. phrases: the synonyms of each class. prompts:
    templates, and phrases that compete with the classes.
    """

    cam: Cam
    clip: ClipParams
    phrases: tuple[tuple[str, ...], ...]
    prompts: PromptSet

    model: Clip = field(init=False, repr=False)
    texts: torch.Tensor = field(init=False, repr=False)  # (M, d), classes first, then background phrases
    config: CamConfig = field(init=False, repr=False)

    stage = "cam"
    libraries = ("torch", "open_clip_torch", "transformers", "numpy", "scipy", "pillow")
    uses_model = True
    batch_size = 16

    def depends_on(self) -> dict[str, Any]:
        """Return what all maps depend on: nothing that is said of methods and refinements not chosen."""
        left_out = {"max_failures", "boxes"} if self.cam.refine == "caa" else {"max_failures", "boxes", "caa"}
        chosen = {name: value for name, value in asdict(self.cam).items() if name not in left_out}
        return {
            "cam": chosen | {"options": self.cam.method_options},
            "model": identity(self.clip.model, self.clip.pretrained, self.root),
            "prompts": [self.phrases, self.prompts.background, self.prompts.templates],
        }

    def methods(self) -> tuple[str, ...]:
        """Return the modules of the CAM method and of the refinement."""
        return f"wildseg.methods.cam.{self.cam.method}", f"wildseg.methods.refine.{self.cam.refine}"

    def name(self, item: LabelledFrame) -> str:
        """Return the name of the frame."""
        return item.frame

    def inputs(self, item: LabelledFrame) -> tuple[Any, ...]:
        """Return the frame's bytes, its classes and its boxes."""
        limits = item.limits
        boxes = () if limits is None else (limits.width, limits.height, limits.boxes.tolist())
        return KeyFrames(self.root).frame_bytes(item.frame), item.present, boxes

    def outputs(self, item: LabelledFrame) -> dict[str, Path]:
        """Return where the maps lie."""
        return {"maps": Maps(self.root).maps_path(item.frame)}

    def empty_outputs(self) -> None:
        """Empty data/cams."""
        empty_dir(Maps(self.root).cams_folder)

    def pack(self, frames: Sequence[str]) -> None:
        """Put maps into shards."""
        Maps(self.root).pack_maps(frames)

    def setup(self, device: str) -> Sequence[str]:
        """Load the image-text model and encode the phrases.

        Raises:
            ModelError: the model cannot be had, or cannot be traced.
        """
        from wildseg.encoders import clip

        self.config = cam_config(self.cam)
        self.model = clip.load(self.clip.model, self.clip.pretrained, device=device, root=self.root)
        self.model.tower()  # a model that cannot be traced is an error now
        phrases = (*self.phrases, *((phrase,) for phrase in self.prompts.background))
        self.texts = self.model.classifier(phrases, self.prompts.templates)
        return self.model.notes

    def compute(self, item: LabelledFrame) -> Entry:
        """Return the maps of one frame, and counts of what is odd about them."""
        (maps,) = self._maps([item], [KeyFrames(self.root).load_image(item.frame)])
        return self._entry(item, maps)

    def compute_batch(self, items: Sequence[LabelledFrame]) -> list[Entry | DataError]:
        """Return the same for several frames: those of one size pass the network together."""
        images = [catch_data_error(KeyFrames(self.root).load_image, item.frame) for item in items]
        made: list[Any] = list(images)  # where there is no image, the error stays
        sizes: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(images):
            if not isinstance(image, DataError):
                sizes.setdefault(image.shape, []).append(number)
        for numbers in sizes.values():
            own = [items[number] for number in numbers]
            for number, maps in zip(numbers, self._maps(own, [images[number] for number in numbers]), strict=True):
                made[number] = self._entry(items[number], maps)
        return made

    def _maps(self, items: Sequence[LabelledFrame], images: Sequence[np.ndarray]) -> list[np.ndarray]:
        from wildseg.cam.engine import activation_maps_of_batch

        present = [item.present for item in items]
        return activation_maps_of_batch(self.model, images, self.texts, present, len(self.phrases), self.config)

    def _entry(self, item: LabelledFrame, maps: np.ndarray) -> Entry:
        blank, emptied = count_blank(maps), 0
        if (limits := item.limits) is not None:
            maps = maps * cells_inside(limits.boxes, (limits.width, limits.height), item.present, maps.shape[1:])
            emptied = count_blank(maps) - blank
        record = {
            "maps": len(maps),
            "without": int(not len(maps)),
            "blank": blank,
            "emptied": emptied,  # blank only inside of their boxes
            "small": int(maps.shape[1] * maps.shape[2] == 1),  # one cell: the frame is smaller than a patch
        }
        return Entry(record, {"maps": Maps.encode_maps(np.array(item.present, np.int16), maps)})


def cam_config(cam: Cam) -> CamConfig:
    """Load the method and the refinement that the parameters name."""
    from wildseg.cam.engine import CamConfig
    from wildseg.cam.refinement import Refinement

    section = getattr(cam, cam.refine, None)  # a refinement's options are in a section of its name
    options = section if is_dataclass(section) else None
    refine = Refinement(lookup.load("methods.refine", cam.refine, "cam.refine"), options)
    return CamConfig(cam, lookup.load("methods.cam", cam.method, "cam.method"), refine)
