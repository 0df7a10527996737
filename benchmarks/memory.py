"""Memory does not grow with the number of frames: the peak of each stage with 100 frames and with twenty times as many.

    python -m benchmarks memory

Each stage runs as its command, on two workers, over frames of 64x48 from a video of as many frames. Counted is the
memory of the command and of all its processes together, twenty times a second: shared pages once, and without pages of
files, such as libraries, which the system drops when it needs the room.
`label` encodes one view a frame and `train` runs a few steps: neither changes what is stored of a frame.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import film
from benchmarks.project import Project, default_project, environment
from benchmarks.timing import Result
from wildseg.cli.main import STAGES
from wildseg.core.images import save_label_image

FEW, MANY = 100, 2000  # frames
SIZE = (64, 48)
EVERY_S = 0.05  # between two readings of the memory
LIGHT = film.EVERY_FRAME | {
    "label.options.clip.tiles": 1,
    "train.steps": 20,
    "train.crop": 64,
    "train.validate_every": 10,
}


def measure() -> Iterator[Result]:
    """Yield the peak of each stage with many frames, against that with few."""
    few, many = _peaks(FEW), _peaks(MANY)
    for stage in STAGES:
        yield _result(stage, few[stage], many[stage])


def _result(stage: str, few: int, many: int) -> Result:
    each = (many - few) / (MANY - FEW) / 1024
    name = f"memory of {stage} with {MANY:,} frames ({each:+.1f} KiB a further frame)"
    ratio, peer = many / few, f"the same with {FEW:,} frames"
    return Result(name, "MiB", many / 2**20, few / 2**20, peer, ratio, ratio, ratio, runs=1)


def _peaks(count: int) -> dict[str, int]:
    """Run all stages over a video of `count` frames in a folder of its own; return the peak of each in bytes."""
    with default_project() as project:
        root = project.artifacts.root
        folder = root / "data" / "film"
        film.write(folder / "film.mp4", film.drive(project, SIZE), range(count))
        project.set(LIGHT)
        peaks = {}
        for stage in STAGES:
            peaks[stage] = peak([sys.executable, "-m", "wildseg.cli", stage], root)
            print(f"memory: {stage}, {count} frames: {peaks[stage] / 2**20:.0f} MiB", file=sys.stderr, flush=True)
            if stage == "extract":
                _make_truth(project, folder / "truth")
        return peaks


# Input ---------------------------------------------------------------------------------------------------------------


def _make_truth(project: Project, folder: Path) -> None:
    """Give each key frame the truth of a frame of the drive: of the right size, which is all that matters here."""
    drive = project.artifacts.root / "data" / "raw" / "field" / "truth" / "drive"
    masks = [np.asarray(Image.open(path).resize(SIZE, Image.Resampling.NEAREST)) for path in sorted(drive.iterdir())]
    for frame in project.artifacts.load_frames():
        save_label_image(folder / f"{frame.name}.png", masks[frame.index % len(masks)])


# Memory --------------------------------------------------------------------------------------------------------------


def peak(command: list[str], folder: Path) -> int:
    """Run a command with two workers and return the most bytes that it and its processes took together."""
    with subprocess.Popen(
        command, cwd=folder, env={**environment(), "WILDSEG_WORKERS": "2"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        seen = 0
        done = threading.Event()

        def watch() -> None:
            nonlocal seen
            while not done.wait(EVERY_S):
                seen = max(seen, sum(map(_bytes, _tree(process.pid))))

        watcher = threading.Thread(target=watch)
        watcher.start()
        output, _ = process.communicate()
        done.set()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}:\n{output}")
    return seen


def _tree(process: int) -> list[int]:
    """Return a process and all that it started, as far as they still run."""
    found = [process]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                with suppress(OSError):
                    found += map(int, (task / "children").read_text().split())
    return found


def _bytes(process: int) -> int:
    """Return the memory of a process that is no file's, its share of what several have; 0 if it has just ended."""
    with suppress(OSError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return 0
