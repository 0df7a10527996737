"""Decoding and choosing key frames, against PyAV decoding the same videos and no more.

On the demo drives, whose frames are tiny, and on a video of a camera's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import av

from benchmarks import camera
from benchmarks.project import Project, default_project
from benchmarks.timing import Result, compare

RUNS = 3
# PyAV by default, and with a thread for each frame. The latter uses all cores, but which frames of a damaged video
# are flagged then depends on which thread is faster, so that the stage cannot use it.
PEERS = {"SLICE": "PyAV decoding the same", "AUTO": "PyAV decoding the same with a thread a frame"}


def measure() -> Iterator[Result]:
    """Yield the time of a decoded frame on the demo drives, and on a video of a camera's size."""
    with default_project() as project:
        folder = project.artifacts.root / project.params.extract.source
        drives = sorted(path for path in folder.iterdir() if path.suffix == ".mp4")
        yield from _compare(project, "extract of the demo drives, 224x168", drives)
        video = camera.video()
        settings = replace(project.params.extract, source=str(video), held_out=())
        of_camera = replace(project, params=replace(project.params, extract=settings))
        yield from _compare(of_camera, f"extract of a video of {camera.WIDTH}x{camera.HEIGHT}", [video])


def _compare(project: Project, name: str, videos: Sequence[Path]) -> Iterator[Result]:
    frames = sum(_decode(video, "SLICE") for video in videos)
    for threads, peer_name in PEERS.items():
        bare = partial(_decode_all, videos, threads)
        run = partial(project.run, "extract")
        yield compare(f"{name}, a decoded frame", run, bare, peer_name, per=frames, runs=RUNS)


def _decode_all(videos: Sequence[Path], threads: str) -> None:
    for video in videos:
        _decode(video, threads)


def _decode(video: Path, threads: str) -> int:
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = threads
        return sum(1 for _ in container.decode(video=0))
