"""One protocol for frames that have a truth: the same labels, split, encoder and U-Net for every map method.

Image labels are given from the truth of all frames; masks are read by nothing that learns, except in the row *truth*.
Whatever is trained sees the training frames alone. mIoU is the mean over classes in truth or prediction; pixels
left undecided by a pseudo mask count as errors. Intervals are those of 95 % over redrawn samples of frames, of whole
stretches of a video, since neighbouring frames are alike.

Everything lies in a folder of its own and is cached there: a run that was stopped goes on, and further rows are added
at their own cost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import yaml

import wildseg
from benchmarks import tile_labels
from benchmarks.project import ROOT, change
from wildseg.artifacts.frames import Frame
from wildseg.artifacts.project import Artifacts
from wildseg.cli import stages
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
LINEAR = "linear head on tiles"
CROPS = {**ENCODER, "size": [224, 320], "crop": 192, "batch_size": 8}
PATCHES = {"size": [208, 208], "crop": 192, "patch": 96, "patches": 5, "stride": 16}
# The rate with which this smaller network learns as a classifier. By that published for ResNets, ten times as high, its
# loss becomes that of answering each class by its frequency; l2g's published one, with momentum, is as it is.
LR = 0.001
HEAD = {**CROPS, "train": "head", "epochs": 6}
# A head on tiles, which `cam` keeps its maps inside of, too.
TILED = {f"classifier, head alone, {r}x{c} tiles": (r, c) for r, c in tile_labels.GRIDS[1:]}
ROWS: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # name: method, options beside its defaults
    "classifier, head alone": ("classifier", HEAD),
    **dict.fromkeys(TILED, ("classifier", HEAD)),
    "classifier": ("classifier", {**CROPS, "epochs": 6, "lr": LR}),
    "l2g": ("l2g", {**ENCODER, **PATCHES, "epochs": 2}),
    "ccam": ("ccam", {**CROPS, "lr": LR, "causal_lr": LR, "epochs": 3, "causal_epochs": 3, "prior_size": 128}),
}
WITH_MODEL = ("classifier", "l2g", "ccam", *TILED)  # and truth: rows whose pseudo masks a U-Net is trained on
WITH_CLIP: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gradcam": ("gradcam", {}),
    "softmax_gradcam": ("softmax_gradcam", {}),
    "maskclip": ("maskclip", {}),
    "clims": ("clims", {**CROPS, "epochs": 6, "baseline_lr": LR}),
}
PARAMS: Mapping[str, Any] = {
    "background": [],
    "extract.fps": None,
    "extract.options.absdiff.threshold": 0.0,
    "extract.duplicate_bits": None,
    "extract.val": 0.0,
    "extract.test": 0.0,
    "extract.held_out": [],
    "extract.max_side": 320,
    "label.method": "given",
    "cam.scales": [1.0, 1.5],
    # Published for photographs: Krähenbühl and Koltun 2011, as CLIP-ES uses it.
    "crf.sharpen": 1.0,
    "crf.iterations": 10,
    "crf.bilateral": {"weight": 4.0, "sxy": 67.0, "srgb": 3.0},
    "crf.min_confidence": 0.0,
    "train.encoder": ENCODER["encoder"],
    "train.encoder_weights": ENCODER["encoder_weights"],
    "train.options.unet": {"encoder_depth": 5, "decoder_channels": [128, 64, 48, 32, 16]},
    "train.steps": 150,
    "train.batch_size": 4,
    "train.crop": 192,
    "train.lr": 0.001,
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

    # The rows -----------------------------------------------------------------------------------------------------

    def floors(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of answers that no image is needed for: the commonest class at each pixel of the training."""
        number = len(self.settings.classes) + 1
        votes = np.zeros(())
        for frame in self.frames("train"):
            truth = self.truth(frame)
            votes = votes + (truth[..., None] == np.arange(number))
        labels = self.artifacts.load_labels(self.settings.classes.names)

        def constant(frame: Frame) -> np.ndarray:
            del frame
            return votes.argmax(-1).astype(np.uint8)

        def labelled(frame: Frame) -> np.ndarray:
            return (votes * np.r_[False, labels[frame.name]]).argmax(-1).astype(np.uint8)

        yield "commonest class at each pixel (reads truth)", "", "", "", self.count("test", constant).text()
        maps = [self.count(split, labelled).text() for split in ("train", "test")]
        yield "the same among the frame's labels (reads truth)", maps[0], "", maps[1], ""

    def row(self, name: str, method: str, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Run cam, crf and train with one map method; return its numbers."""
        if (grid := TILED.get(name, (1, 1))) != self._grid:
            self._give_labels(grid)
        cam = replace(self.settings.cam, method=method, options={method: {**self._defaults(method), **options}})
        chosen = replace(self.settings, cam=cam)
        stages.load("cam").run(chosen, self.artifacts, runtime())
        self._run("crf", chosen)

        def maps(frame: Frame) -> np.ndarray:
            mask = self.artifacts.load_mask(frame.name)
            return ids_of_maps(*self.artifacts.load_maps(frame.name), mask.shape, background=False)

        found = [self.count(split, maps).text() for split in ("train", "test")]
        masks = self.count("train", lambda frame: self.artifacts.load_mask(frame.name)).text()
        return name, found[0], masks, found[1], self.model() if name in WITH_MODEL else ""

    def truth_row(self) -> tuple[str, ...]:
        """Train on the truth in place of pseudo masks: what the same U-Net reaches at most."""
        empty_dir(self.artifacts.masks_folder)
        for frame in self.artifacts.load_frames(after="label"):
            truth = self.truth(frame)
            self.artifacts.save_mask(frame.name, truth)
            self.artifacts.save_confidence(frame.name, np.ones(truth.shape, np.float32))
        return "truth of the training frames, for comparison", "", "", "", self.model()

    def model(self) -> str:
        """Train the U-Net on data/masks; return its mIoU on the test frames."""
        self._run("train")
        model = wildseg.load_segmenter(self.artifacts.root / "models/segmenter")
        return self.count("test", lambda frame: model.predict(self.artifacts.load_image(frame.name))).text()

    def _defaults(self, method: str) -> Mapping[str, Any]:
        return self.settings.cam.options.get(method, {})


def main(prepare: Callable[[Path], Photographs], description: str) -> None:
    """Print the Markdown table of one data set, a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="the data set, see above")
    parser.add_argument("--work", type=Path, help="where everything is kept; by default .wildseg/benchmarks/<name>")
    parser.add_argument("--clip", nargs=2, metavar=("MODEL", "PRETRAINED"), help="adds the methods that need a CLIP")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use each N-th frame alone; default: 1")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows by name; default: all")
    given = parser.parse_args()
    os.environ["WILDSEG_TRACKING"] = "off"
    data = prepare(given.folder.resolve())
    work = (given.work or ROOT / ".wildseg/benchmarks" / data.name).resolve()
    if given.folder.resolve() in (work, *work.parents):
        parser.error("--work: expected a folder outside of the data set, which is never written to")
    work.mkdir(parents=True, exist_ok=True)
    rows = {**ROWS, **(WITH_CLIP if given.clip else {})}
    every = ("floors", *rows, LINEAR, "truth")
    if unknown := set(given.only or ()) - {*every}:
        parser.error(f"--only: expected of {', '.join(every)}; found {', '.join(unknown)}")
    with contextlib.redirect_stdout(_log(work)):
        protocol = Protocol(data, work, given.clip, given.every)
    _show(data, protocol)
    for name in given.only or every:
        with contextlib.redirect_stdout(_log(work)):
            made = (
                [*protocol.floors()] if name == "floors"
                else [protocol.truth_row()] if name == "truth"
                else tile_labels.rows(protocol, len(data.classes), *ENCODER.values()) if name == LINEAR
                else [protocol.row(name, *rows[name])]
            )  # fmt: skip
        for cells in made:
            print(f"| {' | '.join(cells)} |", flush=True)


def _show(data: Photographs, protocol: Protocol) -> None:
    train, test = (len(protocol.frames(split)) for split in ("train", "test"))
    print(f"{data.name}: {train} training and {test} test frames, {len(data.classes)} classes\n")
    print("| maps by | maps, training | pseudo masks, training | maps, test | U-Net, test |")
    print("| --- | --- | --- | --- | --- |", flush=True)


def _log(work: Path) -> TextIO:
    return (work / "log.txt").open("a", encoding="utf-8")  # of the stages; stays open until the program ends


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
