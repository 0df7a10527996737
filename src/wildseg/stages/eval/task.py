"""The trained model's ids of the pixels of one frame."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.frames import KeyFrames
from wildseg.artifacts.segmenter import SegmenterFiles
from wildseg.core import lookup
from wildseg.core.errors import DataError
from wildseg.core.images import encode_label_image
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry, fields_but
from wildseg.segment.vocabulary import HELD_OUT

if TYPE_CHECKING:  # workers import torch, all at the same time; the process of the stage has no use for it
    from wildseg.segment.params import Eval
    from wildseg.segment.predict import Predictor


# Parameters of the section eval that change no prediction.
MEASURED_AND_SHOWN = ("pictures", "report_frames", "label_free_frames", "second_labels", "min_presence")


@dataclass
class PredictTask(FrameTask[str]):
    """Predictions of models/segmenter.

    class_names: those that the model must know. params: the section eval of params.yaml. folder: where to write.
    config: of the model.
    """

    class_names: tuple[str, ...]
    params: Eval
    folder: Path

    config: Mapping[str, Any] = field(init=False)
    predictor: Predictor = field(init=False, repr=False)

    stage = "eval"
    libraries = ("torch", "segmentation-models-pytorch", "timm", "numpy", "pillow")
    uses_model = True

    def __post_init__(self) -> None:
        """Read the model's config.

        Raises:
            DataError: there is no model, or it is of other classes.
            ParamsError: its architecture does not exist.
        """
        files = SegmenterFiles(self.root)
        self.config = files.load_segmenter_config()
        if self.config.get("classes") != list(self.class_names):
            raise DataError(
                f"{files.segmenter_folder}: expected a model of the classes {', '.join(self.class_names)}; "
                f"found one of {self.config.get('classes')}; run 'dvc repro train'"
            )
        lookup.check("methods.architectures", self.architecture, "models/segmenter")

    @property
    def architecture(self) -> str:
        """The name of the model's architecture."""
        return str(self.config.get("architecture"))

    @property
    def unseen(self) -> tuple[str, ...]:
        """The names of the classes that the model was not trained on."""
        held_out = self.config.get(HELD_OUT)
        return tuple(name for name in self.class_names if isinstance(held_out, list) and name in held_out)

    def depends_on(self) -> dict[str, Any]:
        """Return the model, and how it predicts; ids are the same whatever the classes are called."""
        return {
            "classes": len(self.class_names),
            "eval": fields_but(self.params, *MEASURED_AND_SHOWN),
            "config": {name: value for name, value in self.config.items() if name not in ("classes", HELD_OUT)},
            "weights": hashlib.sha256(SegmenterFiles(self.root).segmenter_bytes()).hexdigest(),
        }

    def methods(self) -> tuple[str, ...]:
        """Return the module of the architecture."""
        return (f"wildseg.methods.architectures.{self.architecture}",)

    def inputs(self, item: str) -> tuple[bytes, ...]:
        """Return the bytes of the frame."""
        return (KeyFrames(self.root).frame_bytes(item),)

    def outputs(self, item: str) -> dict[str, Path]:
        """Return where the prediction lies: a palette PNG of ids (H, W)."""
        return {"ids": self.folder / f"{item}.png"}

    def setup(self, device: str) -> Sequence[str]:
        """Load the model."""
        from wildseg.methods import predictor

        files = SegmenterFiles(self.root)
        self.predictor = predictor.assemble(*files.load_segmenter(), device, where=str(files.segmenter_folder))
        return ()

    def compute(self, item: str) -> Entry:
        """Return the ids of one frame."""
        from wildseg.segment.predict import predict_frames

        image = KeyFrames(self.root).load_image(item)
        (ids,) = predict_frames(self.predictor, [image], self.params)
        return Entry(None, {"ids": encode_label_image(ids)})
