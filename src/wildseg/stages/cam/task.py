"""The activation maps of one frame: traced once, one map per class that is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.map_network import MapNetworkFiles
from wildseg.artifacts.maps import Maps
from wildseg.artifacts.memory import MemoryFiles
from wildseg.core import lookup
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir, sha256_of
from wildseg.encoders.weights import identity
from wildseg.execution.frame_task import FrameTask, catch_data_error
from wildseg.execution.result_store import Entry
from wildseg.stages.cam.config import cam_config, second_identity
from wildseg.stages.cam.labelled_frame import LabelledFrame
from wildseg.stages.cam.regions import load_reader, needs_regions

if TYPE_CHECKING:  # workers import torch, all at the same time; the process of the stage has no use for it
    import torch

    from wildseg.artifacts.prompts import PromptSet
    from wildseg.cam.engine import CamConfig
    from wildseg.cam.given_maps import GivenMaps
    from wildseg.cam.memory import Bank, Recollection
    from wildseg.cam.networks.objective import MapObjective
    from wildseg.cam.params import Cam
    from wildseg.cam.region_features import RegionReader
    from wildseg.core.classes import Classes
    from wildseg.encoders.clip import Clip
    from wildseg.encoders.params import Clip as ClipParams
    from wildseg.training.context import TrainContext


@dataclass
class CamTask(FrameTask[LabelledFrame]):
    """Activation maps by one method.

    cam: the section of params.yaml. clip: the image-text model. classes: with the synonyms of each. prompts: templates,
    and phrases that compete with the classes.
    """

    cam: Cam
    clip: ClipParams
    classes: Classes
    prompts: PromptSet

    # A training-free method reads the image-text model, another the network that the stage has trained.
    model: Clip = field(init=False, repr=False)
    texts: torch.Tensor = field(init=False, repr=False)  # (M, d), classes first, then background phrases
    config: CamConfig = field(init=False, repr=False)
    objective: MapObjective = field(init=False, repr=False)
    bank: Bank = field(init=False, repr=False)  # of a refinement that reads one
    reader: RegionReader = field(init=False, repr=False)
    device: str = field(init=False, repr=False)

    stage = "cam"
    libraries = ("torch", "open_clip_torch", "transformers", "numpy", "scipy", "pillow")
    uses_model = True
    batch_size = 16

    def depends_on(self) -> dict[str, Any]:
        """Return what all maps depend on: nothing that is said of methods and refinements not chosen."""
        refinements = self.cam.refinements
        left_out = {"max_failures", "boxes", "precision"} | (set() if "caa" in refinements else {"caa"})
        chosen = {name: value for name, value in asdict(self.cam).items() if name not in left_out}
        chosen["options"] = self.cam.method_options
        if self.reads_files:
            return {"names": self.classes.names}  # all else of a frame is in its files
        chosen["refine"] = refinements if len(refinements) > 1 else refinements[0]
        if options := self.cam.refinement_options:
            chosen["refine_options"] = options
        if self.needs_network:
            return {"cam": chosen, "network": sha256_of(MapNetworkFiles(self.root).map_network_weights)}
        bank = {"bank": MemoryFiles(self.root).bank_digest()} if needs_regions(self.cam) else {}
        return second_identity(self.cam, self.root) | {
            **bank,
            "cam": chosen,
            "model": identity(self.clip, self.root),
            "prompts": [self.classes.phrases, self.prompts.background, self.prompts.templates],
        }

    @property
    def needs_network(self) -> bool:
        """Whether the method reads a network that it trains."""
        return "network" in lookup.needs("methods.cam", self.cam.method)

    @property
    def reads_files(self) -> bool:
        """Whether the maps come from files."""
        return "files" in lookup.needs("methods.cam", self.cam.method)

    def given(self) -> GivenMaps:
        """Return the files that the method reads."""
        method = lookup.load("methods.cam", self.cam.method, "cam.method")
        found: GivenMaps = method.read(self.root, self.classes.names, **self.cam.method_options)
        return found

    def methods(self) -> tuple[str, ...]:
        """Return the modules of the CAM method, of the one that reads its network, if any, and of the refinements."""
        return *self.cam_methods(), *(f"wildseg.methods.refine.{name}" for name in self.cam.refinements)

    def cam_methods(self) -> tuple[str, ...]:
        """Return those of them that a trained network depends on."""
        read_by = self.cam.method_options.get("map") if self.needs_network else None
        named = [self.cam.method, *([str(read_by)] if read_by else [])]
        return tuple(f"wildseg.methods.cam.{name}" for name in named)

    def name(self, item: LabelledFrame) -> str:
        """Return the name of the frame."""
        return item.frame

    def inputs(self, item: LabelledFrame) -> tuple[Any, ...]:
        """Return the frame's bytes, classes and boxes, and where they count its tiles, given maps and its origin."""
        limits = item.limits
        boxes = () if limits is None else (limits.width, limits.height, limits.boxes.tolist())
        tiles = () if item.tiles is None else (item.tiles[..., item.present].tolist(),)
        files = (self.given().digest(item.frame),) if self.reads_files else ()
        origin = (item.origin,) if needs_regions(self.cam) else ()
        return KeyFrames(self.root).frame_bytes(item.frame), item.present, boxes, *tiles, *files, *origin

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
        """Load the image-text model and encode the phrases, or load the trained network.

        Raises:
            DataError: the trained network, or the bank of regions, is broken.
            ModelError: the model cannot be had, or cannot be traced.
        """
        self.device = device
        if self.reads_files:
            return ()
        from wildseg.encoders import clip

        if self.needs_network:
            self.config = cam_config(self.cam)
            self.objective = trained_network(self, device)
            return ()
        self.model = clip.load_chosen(self.clip, device=device, root=self.root)
        self.config = cam_config(self.cam, self.model, self.root)
        self.model.tower()  # a model that cannot be traced is an error now
        phrases = (*self.classes.phrases, *((phrase,) for phrase in self.prompts.background))
        self.texts = self.model.classifier(phrases, self.prompts.templates)
        if needs_regions(self.cam):
            self.bank = MemoryFiles(self.root).load_bank()
            self.reader = load_reader(self.cam, self.model, self.root)
        return self.model.notes

    def compute(self, item: LabelledFrame) -> Entry:
        """Return the maps of one frame, and counts of what is odd about them."""
        (maps,) = self._maps([item], [KeyFrames(self.root).load_image(item.frame)])
        return self._entry(item, maps)

    def compute_batch(self, items: Sequence[LabelledFrame]) -> list[Entry | DataError]:
        """Return the same for several frames: those of one size pass the network together."""
        if self.reads_files:
            return [catch_data_error(self.compute, item) for item in items]
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
        if self.reads_files:
            given, pairs = self.given(), zip(items, images, strict=True)
            return [given.maps(item.frame, item.present, (image.shape[0], image.shape[1])) for item, image in pairs]
        from wildseg.cam.engine import activation_maps_of_batch
        from wildseg.cam.networks.engine import network_maps
        from wildseg.cam.refinement import refine_frame

        present = [item.present for item in items]
        if self.needs_network:
            maps = [
                network_maps(self.objective, image, classes, self.cam, self.device)
                for image, classes in zip(images, present, strict=True)
            ]
            return [refine_frame(m, image, self.config.refinements) for m, image in zip(maps, images, strict=True)]
        recollections = [self.recollection(item, image) for item, image in zip(items, images, strict=True)]
        return activation_maps_of_batch(
            self.model, images, self.texts, present, len(self.classes), self.config, recollections
        )

    def recollection(self, item: LabelledFrame, image: np.ndarray) -> Recollection | None:
        """Return the regions of a frame and the bank, None where nothing asks for them.

        Args:
            item: the frame.
            image: (H, W, 3) uint8.
        """
        if not item.present or not needs_regions(self.cam):
            return None
        from wildseg.cam.memory import Recollection

        regions, texts = self.reader.read(image), self.texts.cpu().numpy()
        return Recollection(self.bank, regions, item.origin, texts, item.present, len(self.classes))

    def _entry(self, item: LabelledFrame, maps: np.ndarray) -> Entry:
        maps, odd = item.kept_inside(maps)
        record = {
            "maps": len(maps),
            "without": int(not len(maps)),
            "small": int(maps.shape[1] * maps.shape[2] == 1),  # one cell: the frame is smaller than a patch
            **odd,
        }
        return Entry(record, {"maps": Maps.encode_maps(np.array(item.present, np.int16), maps)})


def build_network(task: CamTask, labels: np.ndarray, context: TrainContext) -> MapObjective:
    """Return what a trained map method optimises, its networks as they are before the first step.

    Args:
        task: method, options and classes.
        labels: (N, C) bool of the training frames; N is 0 where nothing is trained.
        context: of the training.

    Raises:
        ParamsError: an option means nothing.
        ModelError: a network or its weights cannot be had.
    """
    from wildseg.cam.networks.objective import NetworkContext
    from wildseg.encoders import clip

    def load_clip() -> Clip:
        return clip.load_chosen(task.clip, device=context.device, root=task.root)

    def cam_method(name: str, key: str) -> ModuleType:
        return lookup.load("methods.cam", name, key)

    method = lookup.load("methods.cam", task.cam.method, "cam.method")
    names, phrases = task.classes.names, task.classes.phrases
    built = NetworkContext(names, phrases, labels, context, load_clip, cam_method, task.root)
    objective: MapObjective = method.build(built, **task.cam.method_options)
    return objective


def trained_network(task: CamTask, device: str) -> MapObjective:
    """Return the objective with its networks as `cam` trained and saved them, on a torch device.

    Raises:
        DataError: models/cam is missing or broken.
    """
    from wildseg.training.context import TrainContext
    from wildseg.training.distributed import DistributedContext

    context = TrainContext(distributed=DistributedContext(device=device))
    objective = build_network(task, np.zeros((0, len(task.classes)), bool), context)
    files = MapNetworkFiles(task.root)
    tensors = files.load_map_network_weights()
    for name in objective.saved:
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        try:
            objective.networks[name].load_state_dict(own)
        except RuntimeError as error:
            raise DataError(
                f"{files.map_network_weights}: expected the network of {task.cam.method} ({error})"
            ) from error
        objective.networks[name].to(device).eval()
    return objective
