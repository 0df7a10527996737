"""Pseudo masks by dense CRF: the stage with all its reading and writing, against pydensecrf on ready unaries."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from pydensecrf.densecrf import DenseCRF2D

from benchmarks.project import Project, default_project
from benchmarks.timing import Result, compare, compare_seconds, seconds
from wildseg.artifacts.project import Frame
from wildseg.core.maps import upsample
from wildseg.crf.params import Crf
from wildseg.crf.unary import energies

FEW, MANY = 12, 108  # frames; what both take alike, the start of processes and of Python, is left out of throughput
RUNS = 3

Ready = tuple[np.ndarray, np.ndarray]  # unary (K, H*W) float32, image (H, W, 3) uint8


def measure() -> Iterator[Result]:
    """Yield what the stage adds to pydensecrf on one core, and how much faster two workers are than one pydensecrf."""
    with default_project() as project:
        for stage in ("extract", "label", "cam"):
            if stage == "label":
                project.thin(MANY)
            project.run(stage)
        frames, settings = project.artifacts.load_frames(), project.params.crf
        # Both sides with the maps as they are: what the peer does not do is not timed.
        settings = replace(settings, label_prior=0.0, temporal=replace(settings.temporal, neighbours=0))
        project = replace(project, params=replace(project.params, crf=settings))
        ready = [_ready(project, frame.name) for frame in frames]
        few = _spread(frames, FEW)
        name = "crf on one core, a frame"
        own, bare = partial(_stage, project, frames[::4], 1), partial(_pydensecrf, settings, ready[::4])
        yield compare(name, own, bare, "pydensecrf on one core", per=len(frames[::4]), runs=RUNS)
        yield from _two_workers(
            project, frames, few, [ready[frames.index(frame)] for frame in frames if frame not in few]
        )


def _two_workers(
    project: Project, frames: Sequence[Frame], few: Sequence[Frame], more: Sequence[Ready]
) -> Iterator[Result]:
    """Compare the time that the frames beyond a few add to a run: with pydensecrf in one process, and in two."""
    settings = project.params.crf

    def own() -> float:
        return seconds(partial(_stage, project, frames, 2)) - seconds(partial(_stage, project, few, 2))

    name = "crf on two workers, a further frame"
    alone = partial(seconds, partial(_pydensecrf, settings, more))
    yield compare_seconds(name, own, alone, "pydensecrf in one process", per=len(more), runs=RUNS)
    with ProcessPoolExecutor(
        2, mp_context=multiprocessing.get_context("spawn"), initializer=_take, initargs=(settings, more)
    ) as pool:

        def both() -> float:
            return seconds(lambda: list(pool.map(_one, range(len(more)))))

        yield compare_seconds(name, own, both, "pydensecrf in two processes", per=len(more), runs=RUNS)


def _stage(project: Project, frames: Sequence[Frame], workers: int) -> None:
    project.artifacts.save_frames(frames)
    project.run("crf", workers=workers)


def _spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    return list(frames[:: max(1, len(frames) // count)])


def _ready(project: Project, frame: str) -> Ready:
    image = project.artifacts.load_image(frame).copy()  # it takes no read-only arrays
    _, maps = project.artifacts.load_maps(frame)
    unary = energies(upsample(maps, image.shape[:2]), project.params.crf.sharpen)
    return np.ascontiguousarray(unary.reshape(len(maps), -1)), image


def _pydensecrf(settings: Crf, ready: Sequence[Ready]) -> None:
    for unary, image in ready:
        if len(unary) < 2:  # nothing to decide
            continue
        dense = DenseCRF2D(image.shape[1], image.shape[0], len(unary))
        dense.setUnaryEnergy(unary)
        dense.addPairwiseGaussian(sxy=settings.gaussian.sxy, compat=settings.gaussian.weight)
        dense.addPairwiseBilateral(
            sxy=settings.bilateral.sxy, srgb=settings.bilateral.srgb, rgbim=image, compat=settings.bilateral.weight
        )
        np.array(dense.inference(settings.iterations)).argmax(0)


# In a process of the peer --------------------------------------------------------------------------------------------

_given: dict[str, object] = {}


def _take(settings: Crf, ready: Sequence[Ready]) -> None:
    _given.update(settings=settings, ready=ready)


def _one(number: int) -> None:
    _pydensecrf(_given["settings"], [_given["ready"][number]])  # type: ignore[arg-type, index]
