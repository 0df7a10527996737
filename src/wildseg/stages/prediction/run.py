"""`wildseg predict`: streams frames through workers that hold the model, and puts pictures of videos together.

Frames are read a few ahead and results are written as they come, so that memory does not grow with a video's length. It
runs on this machine whatever the engine, since frames of a video are decoded here.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.artifacts.predictions import PredictionFolder
from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.segmenter import read_config
from wildseg.core import lookup
from wildseg.core.colours import palette
from wildseg.core.errors import DataError
from wildseg.core.files import load_bytes, sha256_of
from wildseg.core.progress import track
from wildseg.exchange.label_info import label_info
from wildseg.execution import fingerprint
from wildseg.execution.engines.local import LocalPool, worker_pool
from wildseg.execution.result_store import fields_but, key_of, versions
from wildseg.execution.runtime import Runtime, gpus
from wildseg.frames.read_stats import ReadStats
from wildseg.report.video import VideoWriter, video_writer
from wildseg.segment.vocabulary import classes_of, found_weights, with_classes
from wildseg.stages.prediction.inputs import FrameItem, Input, find_inputs
from wildseg.stages.prediction.task import CLASSES, Done, Failed, Job, PredictionConfig, Tools, predict_job

LIBRARIES = ("torch", "segmentation-models-pytorch", "timm", "numpy", "pillow")
BATCH = 8  # frames handed to a GPU at a time; a CPU is given one
MEASURABLE = 1.0  # seconds from which on frames a second are shown
MANY = 2**31  # frames of a video whose header does not count them


@dataclass
class _Summary:
    """What came of a run: frames, those among them that were there already, pixels by id, and what was not read."""

    frames: int = 0
    cached: int = 0
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    stats: ReadStats = field(default_factory=ReadStats)
    failed: list[tuple[str, str]] = field(default_factory=list)
    times_s: tuple[float, float] = (0.0, 0.0)  # when the first frame was there, and the last

    @property
    def pace(self) -> str:
        """Frames a second, without the time until the first one, in which the model is loaded.

        Empty where that is too short to say: workers have their first frames at the same time.
        """
        first, last = self.times_s
        return f", {(self.frames - 1) / (last - first):.1f} frames/s" if last - first >= MEASURABLE else ""

    @property
    def quarantine(self) -> list[tuple[str, str]]:
        """(item, reason) of all that could not be read."""
        return [*self.stats.quarantine, *self.failed]

    @property
    def unread(self) -> int:
        """The number of frames that could not be read; a video of which nothing can be read is one."""
        return len(self.stats.bad_files) + self.stats.damaged + self.stats.lost + len(self.failed)

    def add(self, one: Done | Failed) -> None:
        """Count a frame."""
        if isinstance(one, Failed):
            self.failed.append((one.frame, one.reason))
            return
        now = time.monotonic()
        self.times_s = (self.times_s[0] if self.frames else now, now)
        self.frames += 1
        self.cached += one.cached
        self.pixels += one.pixels


def run(
    artifacts: Artifacts,
    runtime: Runtime,
    texts: Sequence[str],
    into: Path,
    config: PredictionConfig,
    max_failures: float,
    topic: str | None = None,
) -> None:
    """Write the predictions of what `texts` name into the folder `into`, whose lock is held, and print a summary.

    Args:
        artifacts: of the project, whose key frames may be named.
        runtime: workers and device; the engine is always that of this machine.
        texts: see `find_inputs`.
        into: where to write; frames that are there with the same key stay as they are.
        config: the model, how to predict, and what to write.
        max_failures: share of frames that may be unreadable.
        topic: of recordings; None takes the only one of images.

    Raises:
        DataError: no model, nothing to read, or too much of it unreadable.
    """
    model = _read_model(config)
    inputs = find_inputs(artifacts, texts, topic)
    folder, names = PredictionFolder(into), ("background", *model["classes"])
    folder.remove_leftovers()
    folder.save_classes(names, label_info(names, model["ids"]) if "costmap" in config.roles else None)
    colours = palette(names[1:], dict(config.colours))
    base = _base_key(config, model, colours[: len(names)], runtime)
    tools = partial(Tools, artifacts.root, config, folder, base, colours, runtime.device)
    totals = [one.total for one in inputs]
    total = None if None in totals else sum(filter(None, totals))
    summary, start = _Summary(), time.monotonic()
    try:
        with worker_pool(runtime, total or MANY, tools, model=True) as pool:
            for one in track(_predicted(inputs, pool, folder, config, runtime, summary.stats), total, "predict"):
                summary.add(one)
    finally:
        folder.save_report(_report(config, model, summary), summary.quarantine)
    _check(summary, max_failures, folder)
    _print(summary, names, time.monotonic() - start, into)


def _read_model(config: PredictionConfig) -> dict[str, Any]:
    """Read the model's config, with the classes that were chosen.

    Errors come before anything is decoded, and before torch is imported.
    """
    model, where = read_config(config.model), config.model / "config.json"
    lookup.check("methods.architectures", str(model.get("architecture")), str(where))
    names, ids = model.get("classes"), model.get("ids")
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    channels = range(len(names) + 1 if isinstance(names, list) else 0)
    if not known or not isinstance(ids, list) or not all(value in channels for value in ids):
        raise DataError(f"{where}: expected the names of classes and the ids that may be predicted, found {names!r} "
                        f"and {ids!r}; run 'dvc repro train'")  # fmt: skip
    if not config.classes:
        return model
    return with_classes(model, classes_of(config.classes, CLASSES), CLASSES)


def _base_key(config: PredictionConfig, model: dict[str, Any], colours: np.ndarray, runtime: Runtime) -> str:
    """Return the part of a key that all frames have in common: all that decides a result but the pixels.

    The colours (C + 1, 3) of the model's ids count, and not what was chosen for classes that it lacks.
    """
    code = fingerprint.digest(
        "wildseg.stages.prediction.task", f"wildseg.methods.architectures.{model['architecture']}"
    )
    weights = hashlib.sha256(load_bytes(config.model / "model.safetensors")).hexdigest()
    settings = fields_but(config, "model", "classes", "colours")
    embedded = _digest_of_clip(config, model) if config.classes else None
    return key_of([model, weights, embedded, settings, colours.tolist(), code, versions(*LIBRARIES), gpus(runtime)[:1]])


def _digest_of_clip(config: PredictionConfig, model: dict[str, Any]) -> str:
    """Return the digest of the CLIP that embeds words, or its name where it is published; the model holds no texts."""
    path = Path(found_weights(model, str(config.model)))
    return sha256_of(path) if path.is_file() else str(path)


def _predicted(
    inputs: Sequence[Input],
    pool: LocalPool[Tools],
    folder: PredictionFolder,
    config: PredictionConfig,
    runtime: Runtime,
    stats: ReadStats,
) -> Iterator[Done | Failed]:
    """Yield what came of each frame, and write the videos of those that are to have one."""
    at_once = BATCH if gpus(runtime) else 1
    for one in inputs:
        pictures = one.video is not None and "overlay" in config.roles
        jobs = (Job(items, pictures) for items in _batches(one.frames(stats), at_once))
        results = chain.from_iterable(pool.each(predict_job, jobs))
        yield from _with_video(results, folder.video_path(one.name), one.rate) if pictures else results


def _with_video(results: Iterable[Done | Failed], path: Path, rate: Fraction) -> Iterator[Done | Failed]:
    """Yield results as they come, and write a video of their pictures; none where there is no picture."""
    with ExitStack() as opened:
        video: VideoWriter | None = None
        for result in results:
            if isinstance(result, Done) and result.picture is not None:
                video = video or opened.enter_context(video_writer(path, rate))
                video.add(result.picture, result.time_s)
            yield result


def _batches(items: Iterator[FrameItem], size: int) -> Iterator[list[FrameItem]]:
    while batch := list(islice(items, size)):
        yield batch


def _report(config: PredictionConfig, model: dict[str, Any], summary: _Summary) -> dict[str, Any]:
    return {
        **asdict(config),
        "colours": dict(config.colours),
        "model": str(config.model),
        "classes": model["classes"],
        "frames": summary.frames,
        "quarantined": summary.unread,
    }


def _check(summary: _Summary, max_failures: float, folder: PredictionFolder) -> None:
    """Raise a DataError where nothing was predicted, or more was unreadable than may be."""
    if not summary.frames and not summary.unread:
        raise DataError("predict: expected frames to predict, found none")
    if not summary.unread:
        return
    item, reason = summary.quarantine[0]
    if summary.frames + summary.unread == 1:
        raise DataError(f"{item}: expected an image or a video that can be read, but {reason}")
    total = summary.frames + summary.unread
    if not summary.frames or summary.unread > max_failures * total + 1e-9:
        raise DataError(
            f"--max-failures: expected at most {100 * max_failures:g}% of {total} frames to be unreadable, and one to "
            f"be predicted; found {summary.unread} unreadable, first {item} ({reason}); see {folder.quarantine_csv}"
        )


def _print(summary: _Summary, names: Sequence[str], seconds: float, into: Path) -> None:
    for item, text in summary.stats.notes:
        print(f"predict: {item}: {text}")
    shares = summary.pixels[: len(names)] / max(1, summary.pixels.sum())
    found = [f"{names[index]} {shares[index]:.1%}" for index in np.argsort(-shares, kind="stable") if shares[index] > 0]
    cached = f", {summary.cached} of them as they were" if summary.cached else ""
    quarantined = f"; {summary.unread} quarantined" if summary.unread else ""
    print(f"predict: {summary.frames} frames{cached} in {seconds:.1f} s{summary.pace}{quarantined}"
          f"; pixels: {', '.join(found)}; see {into}")  # fmt: skip
