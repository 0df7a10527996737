"""New frames cost what they cost: a run after a drive was added that makes 1 % more frames, against the run before.

    python -m benchmarks incremental                  # 2,000 frames: some 20 minutes on two cores
    python -m benchmarks.incremental --frames 200     # fewer, to try it: the start of each command then weighs more

All six stages run as commands with the default settings, but that every frame is a key frame and `train` takes 100
steps, over a video of the demo drive's size; first with an empty cache, then with a second, short video. `train`
and `eval` stand apart: training takes the time of its steps, however many frames are new, and its model is another one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks import film, table
from benchmarks.project import Project, default_project, environment
from benchmarks.timing import Result, seconds
from wildseg.cli.main import STAGES

FRAMES = 2000
SHARE = 0.01
SIZE = (224, 168)
STEPS = 100
BY_FRAME = ("extract", "label", "cam", "crf")


def measure(frames: int = FRAMES) -> Iterator[Result]:
    """Yield the time of the stages that work frame by frame, one by one and together, and of the other two."""
    new = max(1, round(SHARE * frames))
    with default_project() as project:
        images = film.drive(project, SIZE)
        project.set(film.EVERY_FRAME | {"train.steps": STEPS})
        folder = project.artifacts.root / "data" / "film"
        film.write(folder / "first.mp4", images, range(frames))
        full = _times(project)
        film.write(folder / "second.mp4", images, range(frames, frames + new))
        part = _times(project)
    groups = {stage: [stage] for stage in BY_FRAME} | {"extract, label, cam and crf": BY_FRAME}
    groups |= {f"train, {STEPS} steps": ["train"], "eval": ["eval"], "all six stages": STAGES}
    for name, stages in groups.items():
        ours, peer = (sum(times[stage] for stage in stages) for times in (part, full))
        title = f"{name}, {new} of {frames + new:,} frames new"
        ratio = ours / peer
        yield Result(title, "s", ours, peer, f"{frames:,} frames, all new", ratio, ratio, ratio, runs=1)


def _times(project: Project) -> dict[str, float]:
    return {stage: seconds(partial(_run, project, stage)) for stage in STAGES}


def _run(project: Project, stage: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wildseg.cli", stage],
        cwd=project.artifacts.root, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"wildseg {stage} exited with {done.returncode}:\n{done.stderr}")
    print(done.stdout.strip(), file=sys.stderr, flush=True)


def main() -> None:
    """Print the table for any number of frames."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.incremental")
    parser.add_argument("--frames", type=int, default=FRAMES)
    print(table.markdown(list(measure(parser.parse_args().frames))))


if __name__ == "__main__":
    main()
