"""The stored size of activation maps, against arrays of the same classes at the frame's full size in float32.

Maps are stored on the encoder's grid, so that the ratio depends on the size of a frame relative to a cell: measured on
the demo drive as it is, and on a few of its frames enlarged to a camera's size.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2

from benchmarks.project import Project, default_project
from benchmarks.timing import Result

FRAMES = 24
LARGE, FEW = (1280, 960), 4


def measure() -> Iterator[Result]:
    """Yield the bytes of a frame's maps on the disk, and of the arrays that they stand for."""
    with default_project() as project:
        project.run("extract")
        project.thin(FRAMES)
        project.run("label")
        project.run("cam")
        yield _result(project)
        project.thin(FEW)
        for frame in project.artifacts.load_frames():
            image = project.artifacts.load_image(frame.name)
            project.artifacts.save_image(frame.name, cv2.resize(image, LARGE, interpolation=cv2.INTER_CUBIC))
        project.run("cam")
        yield _result(project)


def _result(project: Project) -> Result:
    artifacts = project.artifacts
    stored = sum(path.stat().st_size for path in artifacts.cams_folder.rglob("*") if path.is_file())
    frames = [frame.name for frame in artifacts.load_frames()]
    whole = 0
    for frame in frames:
        height, width, _ = artifacts.load_image(frame).shape
        classes, maps = artifacts.load_maps(frame)
        whole += 4 * len(classes) * height * width
    _, rows, columns = maps.shape
    name = f"maps of a frame of {width}x{height} on {columns}x{rows} cells (1/{whole / stored:.0f})"
    ratio, per = stored / whole, 1024 * len(frames)
    return Result(
        name, "KiB", stored / per, whole / per, "float32 at the frame's full size", ratio, ratio, ratio, runs=1
    )
