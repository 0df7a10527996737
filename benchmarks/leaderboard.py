"""The leaderboard: kinds of labels, ways to make maps of them, refinements, and the U-Net trained on the result.

    python -m benchmarks.terrain FOLDER
    python -m benchmarks.street FOLDER
    python -m benchmarks.drives

Every row is measured by the protocol of `benchmarks.photographs`. What a row found is cached in `rows/` of its work
folder and shown from there while data and settings are the same; delete its file to measure it again after a change of
the code. docs/leaderboard.md has the tables.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmarks.frozen_features import FrozenFeatures
from benchmarks.linear_maps import Head, LinearMaps
from benchmarks.photographs import ENCODER, Photographs, Protocol
from benchmarks.project import ROOT
from wildseg.artifacts.frames import Frame
from wildseg.core.maps import ids_of_maps
from wildseg.execution.params import Params
from wildseg.execution.result_store import VARIABLE

CROPS = {**ENCODER, "size": [224, 320], "crop": 192, "batch_size": 8}
PATCHES = {"size": [208, 208], "crop": 192, "patch": 96, "patches": 5, "stride": 16}
# The rate with which this smaller network learns as a classifier. By that published for ResNets, ten times as high, its
# loss becomes that of answering each class by its frequency; l2g's published one, with momentum, is as it is.
LR = 0.001
HEAD = {**CROPS, "train": "head", "epochs": 6}
TRAINED: Mapping[str, Mapping[str, Any]] = {  # options beside defaults, by the name in a row
    "classifier, head": HEAD,
    "classifier": {**CROPS, "epochs": 6, "lr": LR},
    "l2g": {**ENCODER, **PATCHES, "epochs": 2},
    "ccam": {**CROPS, "lr": LR, "causal_lr": LR, "epochs": 3, "causal_epochs": 3, "prior_size": 128},
    "gradcam": {},
    "softmax_gradcam": {},
    "maskclip": {},
    "clims": {**CROPS, "epochs": 6, "baseline_lr": LR},
}
WITH_CLIP = ("gradcam", "softmax_gradcam", "maskclip", "clims")
LINEAR = "linear head"
ALL = ("tiles", "lposs", "propagate")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        labels: what is known of the training frames: ``none``, ``frames``, ``<r>x<c> tiles`` or ``masks``.
        maps: what makes maps of it.
        refined: by what, in order.
        wrong: the share of ticks that are flipped.
        model: whether a U-Net is trained on what the maps decide; of the linear head in a row of its own.
    """

    labels: str
    maps: str
    refined: tuple[str, ...] = ()
    wrong: float = 0.0
    model: bool = False

    @property
    def name(self) -> str:
        """What `--only` takes."""
        noise = f", {self.wrong:.0%} wrong" if self.wrong else ""
        model = ("U-Net",) if self.model and self.maps not in TRAINED else ()
        return f"{self.labels}{noise}: {' + '.join((self.maps, *self.refined, *model))}"

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles, (1, 1) of frames."""
        rows, _, columns = self.labels.partition(" ")[0].partition("x")
        return (int(rows), int(columns)) if columns else (1, 1)


@dataclass(frozen=True)
class Found:
    """What a row reaches: mIoU with its interval, empty where it does not apply.

    Attributes:
        train: maps of training frames, of the classes that they are labelled with; refined ones where a U-Net is.
        masks: pseudo masks of training frames, after the CRF.
        test: maps of test frames, of the classes that they are labelled with.
        unlabelled: answers for test frames of which no label is known.
        model: predictions of the U-Net for test frames.
        cost: processor time of a frame's map, and of its share of a head's training, in forward passes of the encoder.
    """

    train: str = ""
    masks: str = ""
    test: str = ""
    unlabelled: str = ""
    model: str = ""
    cost: str = ""


def rows(*, clip: bool = False) -> list[Row]:
    """Return the table, in its order."""
    table = [
        Row("none", "commonest class at each pixel (reads masks)"),
        Row("frames", "commonest of the frame's classes at each pixel (reads masks)"),
        Row("masks", LINEAR),
        Row("masks", "masks", model=True),
    ]
    table += [Row("frames", LINEAR, refined) for refined in ((), ("lposs",), ("propagate",), ("lposs", "propagate"))]
    for labels in ("2x2 tiles", "2x3 tiles", "3x4 tiles"):
        chosen = ((), ("tiles",), ("tiles", "lposs"), ("tiles", "propagate"), ALL)
        table += [Row(labels, LINEAR, refined) for refined in chosen]
        table.append(Row(labels, LINEAR, ALL, model=True))
    for wrong in (0.05, 0.2):
        table += [Row("3x4 tiles", LINEAR, refined, wrong) for refined in ((), ("tiles",), ALL)]
        table.append(Row("3x4 tiles", LINEAR, ALL, wrong, model=True))
    for labels in ("frames", "2x3 tiles", "3x4 tiles"):
        table.append(Row(labels, "classifier, head", model=True))
    table.append(Row("3x4 tiles", "classifier, head", ("propagate",), model=True))
    names = [name for name in TRAINED if name != "classifier, head" and (clip or name not in WITH_CLIP)]
    return table + [Row("frames", name, model=name not in WITH_CLIP) for name in names]


class Leaderboard:
    """Measures rows of one data set."""

    def __init__(self, protocol: Protocol, work: Path) -> None:
        """Make or read the features of all frames."""
        self.protocol = protocol
        self.number = len(protocol.settings.classes)
        names = [frame.name for frame in protocol.frames("train") + protocol.frames("test")]
        network = FrozenFeatures(*ENCODER.values())
        features = network.cached(names, protocol.artifacts.load_image, work / "features")
        self.maps = LinearMaps(protocol, self.number, features)
        self.forward = forward_seconds(network, protocol)

    def measure(self, row: Row) -> Found:
        """Return what a row reaches."""
        if row.maps == LINEAR:
            return self._linear(row)
        if row.maps in TRAINED:
            return self._trained(row)
        if row.labels == "masks":
            self.protocol.save_masks(self.protocol.truth)
            return Found(model=self.protocol.model())
        constant, labelled = self.protocol.constant()
        if row.labels == "none":
            return Found(unlabelled=self._miou("test", constant))
        return Found(train=self._miou("train", labelled), test=self._miou("test", labelled))

    def _linear(self, row: Row) -> Found:
        head = self.maps.pixel_head() if row.labels == "masks" else self.maps.head(row.grid, row.wrong)
        if row.model:
            masks = {frame.name: self._decided(head, frame, row) for frame in self.protocol.frames("train")}
            self.protocol.save_masks(lambda frame: masks[frame.name])
            return Found(train=self._miou("train", lambda frame: masks[frame.name]), model=self.protocol.model())
        plain = not row.refined
        self.maps.seconds.clear()
        test = self._miou("test", lambda frame: self._decided(head, frame, row))
        spent = np.mean(self.maps.seconds) + head.seconds / len(self.protocol.frames("train"))
        return Found(
            train=self._miou("train", lambda frame: self._decided(head, frame, row)) if plain else "",
            test=test,
            unlabelled=self._miou("test", lambda frame: self._unlabelled(head, frame)) if plain else "",
            cost=f"{1 + spent / self.forward:.1f}",
        )

    def _trained(self, row: Row) -> Found:
        start = processor_seconds()
        method = row.maps.partition(",")[0]
        with without_result_store():  # or the cost of a row would lack the training of one with the same network
            self.protocol.make_maps(method, TRAINED[row.maps], row.grid, row.refined)
        spent = (processor_seconds() - start) / len(self.protocol.frames("train") + self.protocol.frames("test"))
        return Found(
            train=self._miou("train", self.protocol.mask_of_maps),
            masks=self._miou("train", lambda frame: self.protocol.artifacts.load_mask(frame.name)),
            test=self._miou("test", self.protocol.mask_of_maps),
            model=self.protocol.model() if row.model else "",
            cost=f"{spent / self.forward:.0f}",
        )

    def _decided(self, head: Head, frame: Frame, row: Row) -> np.ndarray:
        classes, maps = self.maps.maps(head, frame, row.refined)
        return ids_of_maps(classes, maps, self.protocol.truth(frame).shape, background=False)

    def _unlabelled(self, head: Head, frame: Frame) -> np.ndarray:
        answers = head.answers(self.maps.features[frame.name])
        return ids_of_maps(np.arange(self.number), answers, self.protocol.truth(frame).shape, background=False)

    def _miou(self, split: str, predict: Callable[[Frame], np.ndarray]) -> str:
        return self.protocol.count(split, predict).text()


def forward_seconds(network: FrozenFeatures, protocol: Protocol) -> float:
    """Return the processor seconds of one forward pass of the encoder on a frame: the median of at least five."""
    image = protocol.artifacts.load_image(protocol.frames("train")[0].name)
    while len(network.seconds) < 5:
        network.of(image)
    return float(np.median(network.seconds))


def processor_seconds() -> float:
    """Return the processor seconds of this process and of its children that ended."""
    return sum(os.times()[:4])


@contextlib.contextmanager
def without_result_store() -> Iterator[None]:
    """Let stages compute everything anew."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "off"
    try:
        yield
    finally:
        os.environ.pop(VARIABLE) if before is None else os.environ.update({VARIABLE: before})


def settings_of(row: Row, settings: Params) -> tuple[object, ...]:
    """Return the parameters that a row depends on."""
    maps = (settings.cam, settings.crf, settings.clip, TRAINED[row.maps]) if row.maps in TRAINED else ()
    trained = (settings.train, settings.eval.scales, settings.eval.flip) if row.model else ()
    return settings.seed, settings.extract, settings.classes, settings.eval.min_presence, *maps, *trained


def digest_of(protocol: Protocol) -> str:
    """Return the SHA-256 of all frames, their splits and their truth, hex."""
    content = hashlib.sha256()
    for split in ("train", "test"):
        for frame in protocol.frames(split):
            content.update(f"{split}\0{frame.name}\0".encode() + protocol.artifacts.frame_bytes(frame.name))
            content.update(protocol.truth(frame).tobytes())
    return content.hexdigest()


def cached(folder: Path, row: Row, settings: str, measure: Callable[[Row], Found]) -> Found:
    """Return what `folder` has of a row under these settings; else measure it and write it there."""
    path = folder / f"{row.name.replace(' ', '_').replace(':', '')}.json"
    asked = json.loads(json.dumps({"row": asdict(row), "settings": settings}))
    if path.exists() and (old := json.loads(path.read_text(encoding="utf-8")))["of"] == asked:
        return Found(**old["found"])
    found = measure(row)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"of": asked, "found": asdict(found)}, indent=1), encoding="utf-8")
    partial.replace(path)
    return found


def line(row: Row, found: Found) -> str:
    """Return a row of the Markdown table."""
    noise = f", {row.wrong:.0%} of ticks wrong" if row.wrong else ""
    cells = (
        f"{row.labels}{noise}",
        row.maps,
        ", ".join(row.refined),
        *(getattr(found, one.name) for one in fields(found)),
    )
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| labels | maps by | refined by | maps, training | masks, training | maps, test | test, no labels | U-Net, test "
    "| cost |\n| --- | --- | --- | --- | --- | --- | --- | --- | ---: |"
)


def main(prepare: Callable[[Path], Photographs], description: str, folder: Path | None = None) -> None:
    """Print the Markdown table of one data set, a row as soon as it is known.

    Args:
        prepare: from a folder to the data set that lies there.
        description: of the command.
        folder: where the data set lies; None asks for it.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if folder is None:
        parser.add_argument("folder", type=Path, help="the data set, see above")
    parser.add_argument("--work", type=Path, help="where everything is kept; by default .wildseg/benchmarks/<name>")
    parser.add_argument("--clip", nargs=2, metavar=("MODEL", "PRETRAINED"), help="adds the methods that need a CLIP")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="use each N-th frame alone; default: 1")
    parser.add_argument(
        "--only", nargs="+", metavar="ROW", help="rows by name; default: all; an unknown one lists them"
    )
    given = parser.parse_args()
    folder = (folder or given.folder).resolve()
    chosen = _chosen(parser, rows(clip=bool(given.clip)), given.only)
    data = prepare(folder)
    work = (given.work or ROOT / ".wildseg/benchmarks" / data.name).resolve()
    if folder in (work, *work.parents):
        parser.error("--work: expected a folder outside of the data set, which is never written to")
    work.mkdir(parents=True, exist_ok=True)
    for text in table(data, work, given.clip, given.every, chosen):
        print(text, flush=True)


def table(
    data: Photographs, work: Path, clip: Sequence[str] | None, every: int, chosen: Sequence[Row]
) -> Iterator[str]:
    """Yield the lines of the table, each as soon as it is known."""
    os.environ["WILDSEG_TRACKING"] = "off"
    with contextlib.redirect_stdout(_log(work)):
        protocol = Protocol(data, work, clip, every)
        leaderboard = Leaderboard(protocol, work)
        digest = digest_of(protocol)
    train, test = (len(protocol.frames(split)) for split in ("train", "test"))
    yield f"{data.name}: {train} training and {test} test frames, {len(data.classes)} classes\n"
    yield HEADER
    for row in chosen:
        start = time.monotonic()
        with contextlib.redirect_stdout(_log(work)):
            of = f"{settings_of(row, protocol.settings)}, data {digest}"
            found = cached(work / "rows", row, of, leaderboard.measure)
            print(f"leaderboard: {row.name}, {time.monotonic() - start:.0f} s", flush=True)
        yield line(row, found)


def _chosen(parser: argparse.ArgumentParser, every: Sequence[Row], only: Sequence[str] | None) -> list[Row]:
    known = {row.name: row for row in every}
    if unknown := set(only or ()) - set(known):
        names = "\n".join(known)
        parser.error(f"--only: expected of\n{names}\nfound {', '.join(sorted(unknown))}")
    return [known[name] for name in only] if only else list(every)


def _log(work: Path) -> TextIO:
    return (work / "log.txt").open("a", encoding="utf-8")  # of the stages; stays open until the program ends
