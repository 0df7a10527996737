"""One protocol for frames that have a truth: the same labels, split, encoder and U-Net for every way to make maps.

Labels of frames and tiles are given from the truth of all frames; masks are read by nothing that learns, except in rows
that say so. Whatever is trained sees the training frames alone. mIoU is the mean over classes in truth or prediction;
pixels left undecided by a pseudo mask count as errors. Intervals are those of 95 % over redrawn samples of frames, of
whole stretches of a video, since neighbouring frames are alike.

Everything lies in a folder of its own and is cached there: a run that was stopped goes on.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import wildseg
from benchmarks import tile_labels
from benchmarks.project import ROOT, change
from wildseg.artifacts.frames import Frame
from wildseg.artifacts.project import Artifacts
from wildseg.cli import stages
from wildseg.core.classes import IGNORE
from wildseg.core.files import empty_dir
from wildseg.core.maps import ids_of_maps
from wildseg.core.tables import save_table
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.metrics import confusion
from wildseg.metrics.intervals import interval, miou, of_matrix
from wildseg.metrics.levels import classes_in

ENCODER = {"encoder": "tu-tf_efficientnet_lite0", "encoder_weights": "efficientnet-lite0"}
PARAMS: Mapping[str, Any] = {
    "background": [],
    "extract.fps": None,
    "extract.options.absdiff.threshold": 0.0,
    "extract.duplicate_bits": None,
    "extract.val": 0.0,
    "extract.test": 0.0,
    "extract.held_out": [],
    "extract.max_side": 512,
    "label.method": "given",
    "cam.scales": [0.625, 1.0],  # sides of 320, as a classifier is trained with, and of 512
    # Published for photographs: Krähenbühl and Koltun 2011, as CLIP-ES uses it.
    "crf.sharpen": 1.0,
    "crf.iterations": 10,
    "crf.bilateral": {"weight": 4.0, "sxy": 67.0, "srgb": 3.0},
    "crf.min_confidence": 0.0,
    "train.encoder": ENCODER["encoder"],
    "train.encoder_weights": ENCODER["encoder_weights"],
    "train.options.unet": {"encoder_depth": 5, "decoder_channels": [128, 64, 48, 32, 16]},
    "train.steps": 900,
    "train.batch_size": 8,
    "train.crop": 144,
    "train.scale": [0.3, 0.65],  # a crop shows 222 to 480 of 512 pixels
    "train.lr": 0.002,
    "eval.scales": [0.35, 0.5],  # of those that it is trained at
}


@dataclass(frozen=True)
class Photographs:
    """A data set with truth.

    Attributes:
        name: of the benchmark.
        classes: phrases of each class.
        sources: puts videos or photos into the folder of the first argument, truth into that of the second.
        is_test: from all key frames, in order, to which are never trained on: (n,) bool.
        stretch: key frames that are drawn together for intervals.
    """

    name: str
    classes: Mapping[str, Sequence[str]]
    sources: Callable[[Path, Path], None]
    is_test: Callable[[Sequence[Frame]], np.ndarray]
    stretch: int


@dataclass(frozen=True)
class Counted:
    """Confusion matrices of frames, (n, K + 1, K + 2) int64, in order of time."""

    matrices: np.ndarray
    stretch: int

    def text(self) -> str:
        """Return mIoU with its interval, which few stretches do not have."""
        stretches = np.add.reduceat(self.matrices, np.arange(0, len(self.matrices), self.stretch))
        low, high = interval(np.stack([of_matrix(stretch) for stretch in stretches]), miou)
        value = f"{confusion.miou(self.matrices.sum(0)):.3f}"
        return value if np.isnan(low) else f"{value} ({low:.3f} to {high:.3f})"


class Protocol:
    """The pipeline on one data set in its own folder."""

    def __init__(self, data: Photographs, work: Path, clip: Sequence[str] | None, every: int = 1) -> None:
        """Lay out the project, extract its key frames, give every so-manieth of them the labels of its truth."""
        self.data = data
        self.artifacts = Artifacts(work)
        self.settings = _settings(data, work, clip)
        self._truths: dict[str, np.ndarray] = {}
        source = empty_dir(work / self.settings.extract.source)
        data.sources(source, empty_dir(work / "data/truth"))
        (work / "models").mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (work / "models/tiny_clip").symlink_to(ROOT / "models/tiny_clip")
        self._run("extract")
        frames = self.artifacts.load_frames()
        tested = self.data.is_test(frames)
        splits = np.where(tested, "test", "train").tolist()
        kept = [replace(f, split=split) for f, split in zip(frames, splits, strict=True)][::every]
        self.artifacts.save_frames(kept)
        self._give_labels((1, 1))

    def _give_labels(self, grid: tuple[int, int]) -> None:
        names = self.settings.classes.names
        rows: list[tuple[object, ...]] = []
        for frame in self.artifacts.load_frames():
            truth = self.truth(frame)
            of_frame = classes_in(truth, len(names), self.settings.eval.min_presence)[0][None, None]
            tiles = of_frame if grid == (1, 1) else tile_labels.labels_of_tiles(truth, grid, len(names))
            rows += [(frame.name, i + 1, j + 1, ",".join(np.array(names)[tiles[i, j]])) for i, j in np.ndindex(*grid)]
        save_table(self.artifacts.root / "data/labels/given.csv", ("Frame", "Row", "Column", "Labels"), rows)
        self._run("label", replace(self.settings, label=replace(self.settings.label, grid=grid)))
        self._grid = grid

    def _run(self, stage: str, settings: Params | None = None) -> None:
        stages.load(stage).run(settings or self.settings, self.artifacts, runtime())

    def frames(self, split: str) -> list[Frame]:
        """Return the key frames of a split that have a truth."""
        return self.artifacts.load_frames(split, after="label")

    def truth(self, frame: Frame) -> np.ndarray:
        """Return the truth of a key frame: (H, W) uint8 ids, decoded once."""
        if frame.name not in self._truths:
            shape = self.artifacts.load_image(frame.name).shape
            truth = self.artifacts.load_truth(frame, self.settings.classes.names, (shape[0], shape[1]))
            if truth is None:
                raise SystemExit(f"{self.data.name}: expected a mask of every frame, found none of {frame.name}")
            self._truths[frame.name] = truth
        return self._truths[frame.name]

    def count(self, split: str, predict: Callable[[Frame], np.ndarray]) -> Counted:
        """Compare what is predicted for each frame of a split, (H, W) ids, with the truth."""
        counted = [
            confusion.confusion_matrix(self.truth(frame), predict(frame), len(self.settings.classes) + 1)
            for frame in self.frames(split)
        ]
        return Counted(np.stack(counted), self.data.stretch)

    # What rows are made of ----------------------------------------------------------------------------------------

    def constant(self) -> tuple[Callable[[Frame], np.ndarray], Callable[[Frame], np.ndarray]]:
        """Return two answers that look at no image: the commonest class at each pixel of the training frames' truth.

        The second one is the commonest among the classes that the frame is labelled with.
        """
        number = len(self.settings.classes) + 1
        votes = np.zeros(())
        for frame in self.frames("train"):
            truth = self.truth(frame)
            votes = votes + (truth[..., None] == np.arange(number))
        if self._grid != (1, 1):
            self._give_labels((1, 1))
        labels = self.artifacts.load_labels(self.settings.classes.names)

        def constant(frame: Frame) -> np.ndarray:
            del frame
            return votes.argmax(-1).astype(np.uint8)

        def labelled(frame: Frame) -> np.ndarray:
            return (votes * np.r_[False, labels[frame.name]]).argmax(-1).astype(np.uint8)

        return constant, labelled

    def make_maps(self, method: str, options: Mapping[str, Any], grid: tuple[int, int], refine: Sequence[str]) -> None:
        """Run label, cam and crf with one map method."""
        if grid != self._grid:
            self._give_labels(grid)
        defaults = self.settings.cam.options.get(method, {})
        chosen = {"method": method, "options": {method: {**defaults, **options}}, "refine": tuple(refine) or "none"}
        settings = replace(self.settings, cam=replace(self.settings.cam, **chosen))
        self._run("cam", settings)
        self._run("crf", settings)

    def mask_of_maps(self, frame: Frame) -> np.ndarray:
        """Return the ids (H, W) that the maps of `make_maps` decide by themselves."""
        shape = self.truth(frame).shape
        return ids_of_maps(*self.artifacts.load_maps(frame.name), (shape[0], shape[1]), background=False)

    def save_masks(self, mask_of: Callable[[Frame], np.ndarray]) -> None:
        """Write a mask (H, W) of each training frame, in place of those of `crf`."""
        empty_dir(self.artifacts.masks_folder)
        for frame in self.artifacts.load_frames(after="label"):
            # The stage wants masks of all key frames; it reads those of training frames.
            mask = mask_of(frame) if frame.split == "train" else np.full(self.truth(frame).shape, IGNORE, np.uint8)
            self.artifacts.save_mask(frame.name, mask)
            self.artifacts.save_confidence(frame.name, np.ones(mask.shape, np.float32))

    def model(self) -> str:
        """Train the U-Net on data/masks; return its mIoU on the test frames."""
        self._run("train")
        model = wildseg.load_segmenter(self.artifacts.root / "models/segmenter")
        views = {"scales": self.settings.eval.scales, "flip": self.settings.eval.flip}
        return self.count("test", lambda frame: model.predict(self.artifacts.load_image(frame.name), **views)).text()


def _settings(data: Photographs, work: Path, clip: Sequence[str] | None) -> Params:
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    changes = {**PARAMS, "classes": data.classes, "extract.source": "data/raw/photographs"}
    if clip:
        changes |= {"clip.model": clip[0], "clip.pretrained": clip[1]}
    change(content, changes)
    (work / "params.yaml").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return params.load(work / "params.yaml")


def runtime() -> Runtime:
    """Return workers and device as the environment names them."""
    return Runtime.from_environment()
