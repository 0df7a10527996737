"""`wildseg predict` on a video, decoding and writing included, against the bare network on as many images.

    python -m benchmarks predict

The time is that of the frames beyond a few, so that loading libraries and the model is left out on both sides. Frames
per second are 1,000 / ours; their share of the peer's is 1 / ratio. Weights are random, which costs what trained ones
cost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks import film
from benchmarks.project import Project, default_project
from benchmarks.timing import Result, compare_seconds, seconds
from wildseg.core import lookup
from wildseg.execution.runtime import Runtime
from wildseg.segment.predict import describe
from wildseg.stages.prediction import run as prediction
from wildseg.stages.prediction.task import PredictionConfig

ENCODER, SIZE = "resnet34", (640, 480)  # width, height
FEW, MANY, RUNS = 4, 16, 3


def measure() -> Iterator[Result]:
    """Yield the time of a frame on one core, and on as many as there are."""
    cores = torch.get_num_threads()
    with default_project() as project:
        network = _model(project)
        images = film.drive(project, SIZE)
        for frames in (FEW, MANY):
            film.write(project.artifacts.root / f"{frames}.mp4", images, range(frames))
        for workers in sorted({1, cores}):
            yield compared(project, network, workers)
        torch.set_num_threads(cores)


def compared(project: Project, network: torch.nn.Module, workers: int) -> Result:
    """Time the frames beyond a few by so many workers, and the network alone with so many threads."""
    torch.set_num_threads(workers)
    pixels = torch.randn(1, 3, *SIZE[::-1]).contiguous(memory_format=torch.channels_last)

    def own() -> float:
        many, few = (seconds(partial(_predict, project, frames, workers)) for frames in (MANY, FEW))
        return many - few

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(MANY - FEW):
            network(pixels)

    cores = "one core" if workers == 1 else f"{workers} cores"
    return compare_seconds(
        f"predict on {cores}, a frame of {SIZE[0]}x{SIZE[1]} by unet with {ENCODER}", own, partial(seconds, bare),
        f"the bare network on {cores}", per=MANY - FEW, runs=RUNS,
    )  # fmt: skip


def _model(project: Project) -> torch.nn.Module:
    """Write a model with random weights, and return its network."""
    names = project.params.classes.names
    built = lookup.load("methods.architectures", "unet").build(len(names), ENCODER, None)
    network: torch.nn.Module = built.eval().to(memory_format=torch.channels_last)
    project.artifacts.segmenter_folder.mkdir(parents=True)
    project.artifacts.save_segmenter_weights(network.state_dict())
    project.artifacts.save_segmenter_config(describe("unet", ENCODER, {}, names, range(1, len(names) + 1)))
    return network


def _predict(project: Project, frames: int, workers: int) -> None:
    artifacts = project.artifacts
    into = artifacts.root / "predictions"
    shutil.rmtree(into, ignore_errors=True)  # what is there would not be computed again
    config = PredictionConfig(artifacts.segmenter_folder)
    video = str(artifacts.root / f"{frames}.mp4")
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        prediction.run(artifacts, Runtime(workers, "cpu"), [video], into, config, 0.0)
