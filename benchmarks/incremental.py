"""New frames cost what they cost: a run in which 1 % of the frames are new, against one in which all are.

    python -m benchmarks.incremental --frames 2000

Runs label, cam and crf as commands on frames of the demo drives, made many by changing their brightness. The full run
starts with an empty cache. Takes some twenty minutes for 2,000 frames on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from benchmarks.project import Project, default_project, environment
from benchmarks.timing import seconds
from wildseg.artifacts import Frame

STAGES = ("label", "cam", "crf")
SHARE = 0.01


def main() -> None:
    """Print one line of a Markdown table per stage, and one for all three."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.incremental")
    parser.add_argument("--frames", type=int, default=2000)
    count = parser.parse_args().frames
    with default_project() as project:
        names = _make_frames(project, count)
        full = {stage: seconds(lambda stage=stage: _run(project, stage)) for stage in STAGES}
        _brighten(project, names[:: round(1 / SHARE)])
        new = {stage: seconds(lambda stage=stage: _run(project, stage)) for stage in STAGES}
    print(f"| {count} frames | all new, s | {SHARE:.0%} new, s | ratio |\n| --- | ---: | ---: | ---: |")
    for name, stages in (*((stage, [stage]) for stage in STAGES), ("all three", STAGES)):
        whole, part = (sum(times[stage] for stage in stages) for times in (full, new))
        print(f"| {name} | {whole:.1f} | {part:.1f} | {part / whole:.3f} |")


def _make_frames(project: Project, count: int) -> list[str]:
    frames = [Frame(f"drive_{index:06d}", "drive", index, float(index), "train") for index in range(count)]
    images = _images(project)
    for number, frame in enumerate(frames):
        if number % len(images) == 0:
            factor = 1 - 0.02 * (number // len(images))
        image = images[number % len(images)]
        project.artifacts.save_image(frame.name, (image * factor).astype(np.uint8))
    project.artifacts.save_frames(frames)
    return [frame.name for frame in frames]


def _images(project: Project) -> list[np.ndarray]:
    return [image for video in _videos(project) for image in _decode(video)]


def _videos(project: Project) -> list[Path]:
    folder = project.artifacts.root / project.params.extract.source
    return sorted(path for path in folder.iterdir() if path.suffix == ".mp4")


def _decode(video: Path) -> Iterator[np.ndarray]:
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _brighten(project: Project, names: list[str]) -> None:
    for name in names:
        image = project.artifacts.load_image(name)
        project.artifacts.save_image(name, np.minimum(image.astype(np.int16) + 9, 255).astype(np.uint8))


def _run(project: Project, stage: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wildseg.cli", stage],
        cwd=project.artifacts.root, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"wildseg {stage} exited with {done.returncode}:\n{done.stderr}")
    print(done.stdout.strip(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
