"""DVC on many key frames, loose and in shards: nothing to do, 1 % new frames, push and pull with an S3 server.

    python -m benchmarks.large --frames 10000
    python -m benchmarks.large --frames 100000 --dvc-only --without-remote loose

The real stages on frames of 32x32 pixels, with a CLIP of one layer that is made on the spot and labels from a table, so
that many frames can be computed at all: the number of files is that of a large set, their sizes are not. Each form
begins with all frames in the cache of frames, and with an empty DVC cache and an empty remote. ``--dvc-only`` runs no
stage: files of the same kind and size are written by the benchmark, and `dvc commit` takes them over, which is what
`dvc repro` does after a stage.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

from benchmarks import table
from benchmarks.large_inputs import add_video, save_clip
from benchmarks.large_outputs import write_outputs
from benchmarks.project import ROOT, environment
from benchmarks.s3 import s3_server
from benchmarks.timing import seconds

PER_VIDEO = 1000
SMALL = {
    "clip": {"model": "micro", "pretrained": "models/micro/micro.safetensors"},
    "extract": {"source": "raw", "fps": None, "method": "uniform", "options": {"uniform": {"every_s": 0.01}},
                "duplicate_bits": None, "held_out": [], "val": 0.0},
    "label": {"method": "given", "options": {"given": {"path": "data/labels/given.csv"}}},
    "cam": {"scales": [1.0]},
    "train": {"encoder": "resnet18", "options": {"unet": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}},
              "steps": 4, "batch_size": 2, "crop": 32, "validate_every": 4},
    "eval": {"pictures": 1},
}  # fmt: skip
FORMS = {"shards": 0, "loose": None}  # extract.shard_above
OUTPUTS = ("data/frames", "data/cams", "data/masks")


@dataclass
class Form:
    """A project whose frames are loose or packed, and what was measured on it: row of the table -> cell."""

    folder: Path
    bucket: str
    environment: dict[str, str]
    cells: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a program in the project; stop if it fails."""
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def dvc(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run dvc."""
        return self.run(sys.executable, "-m", "dvc", *arguments, cwd=cwd)

    def time(self, row: str, action: Callable[[], object]) -> None:
        """Do something, and note the seconds it took."""
        self.note(row, f"{seconds(action):.1f} s")

    def note(self, row: str, cell: str) -> None:
        """Fill a cell of the table, and say so, since the next may take minutes."""
        self.cells[row] = cell
        print(f"{self.folder.name}: {row}: {cell}", file=sys.stderr, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large")
    parser.add_argument("--frames", type=int, default=100_000, help="a multiple of 1,000; default: 100,000")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--dvc-only", action="store_true", help="write outputs without running the stages")
    parser.add_argument("--without-remote", nargs="*", choices=FORMS, default=[], help="forms not pushed and pulled")
    arguments = parser.parse_args()
    videos = max(1, arguments.frames // PER_VIDEO)
    with tempfile.TemporaryDirectory() as name, s3_server() as (endpoint, keys):
        inputs = Path(name) / "inputs"
        _make_inputs(inputs, 1 if arguments.dvc_only else videos)
        own = {**environment(), **keys, "WILDSEG_CACHE": str(Path(name) / "cache")}
        forms = {form: Form(Path(name) / form, f"s3://{form}/store", own) for form in arguments.forms}
        for form, project in forms.items():
            _make_project(project, inputs, FORMS[form])
        if not arguments.dvc_only:
            first = next(iter(forms.values()))
            first.note("(computing all frames, once)", f"{seconds(lambda: _compute(first)):.0f} s")
        for form, project in forms.items():
            remote = None if form in arguments.without_remote else endpoint
            _measure(project, _steps(project, videos, arguments.dvc_only), remote)
            shutil.rmtree(project.folder)
    facts = ", ".join(f"{key} {value}" for key, value in {**table.machine(), "file system": _file_system(name)}.items())
    print(f"{facts}\n\n| {videos * PER_VIDEO:,} frames | {' | '.join(forms)} |\n| --- |{' ---: |' * len(forms)}")
    rows = dict.fromkeys(row for project in forms.values() for row in project.cells if not row.startswith("("))
    for row in rows:
        print(f"| {row} | {' | '.join(project.cells.get(row, '') for project in forms.values())} |")


def _make_inputs(folder: Path, videos: int) -> None:
    for name in ("raw", "models/micro", "data/labels"):
        (folder / name).mkdir(parents=True)
    save_clip(folder / "models" / "micro" / "micro.safetensors")
    (folder / "data" / "labels" / "given.csv").write_text("Frame,Labels\n")
    for name in ("overrides.csv", "ticks.csv"):
        shutil.copy(ROOT / "data" / "labels" / name, folder / "data" / "labels")
    for number in range(videos):
        add_video(folder, f"drive_{number:03d}", number, PER_VIDEO)


def _make_project(form: Form, inputs: Path, shard_above: int | None) -> None:
    folder = form.folder
    shutil.copytree(inputs, folder)
    for name in ("src/wildseg", "models/tiny_clip"):
        ignored = shutil.ignore_patterns("__pycache__", "dvc.yaml", "dvc.lock")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots", dirs_exist_ok=True)
    (folder / "data" / "truth").mkdir()
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        content[section] = {key: values.get(key, value) for key, value in content[section].items()}
    content["extract"]["shard_above"] = shard_above
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / ".gitignore").write_text("/raw/\n/.wildseg/\n")
    form.run("git", "init", "--quiet")
    form.dvc("init", "--quiet", "--force")
    form.dvc("config", "core.analytics", "false")
    _commit(form)


def _compute(form: Form) -> None:
    for stage in ("extract", "label", "cam", "crf"):
        form.run(sys.executable, "-m", "wildseg.cli", stage)


@dataclass
class Steps:
    """What is done to a form: row of the table and action, for all frames and then for 1 % new ones."""

    all_frames: tuple[str, Callable[[], object]]
    new_frames: tuple[str, Callable[[], object]]
    prepare: Callable[[], object]
    prepare_new: Callable[[], object]


def _steps(form: Form, videos: int, dvc_only: bool) -> Steps:
    new = max(1, videos * PER_VIDEO // 100)
    if not dvc_only:
        repro = partial(form.dvc, "repro")
        return Steps(
            ("`dvc repro`, all frames in the result store", repro),
            ("`dvc repro`, 1 % new frames: one more video", repro),
            lambda: None,
            partial(add_video, form.folder, "drive_050_new", 10_000, new),
        )
    old = [(f"drive_{number:03d}", PER_VIDEO) for number in range(videos)]
    packed = form.folder.name == "shards"
    commit = partial(form.dvc, "commit", "--force", "--quiet")
    return Steps(
        ("`dvc commit` of all frames", commit),
        ("`dvc commit` of 1 % new frames: one more video", commit),
        partial(write_outputs, form.folder, old, packed),
        partial(write_outputs, form.folder, [*old, ("drive_050_new", new)], packed),
    )


def _measure(form: Form, steps: Steps, endpoint: str | None) -> None:
    if endpoint:
        form.run(sys.executable, "-m", "benchmarks.s3", endpoint, form.bucket, cwd=ROOT)
        form.dvc("remote", "add", "--default", "store", form.bucket)
        form.dvc("remote", "modify", "store", "endpointurl", endpoint)
    steps.prepare()
    form.time(*steps.all_frames)
    count, size = _files(form.folder)
    form.note("files in data/frames, data/cams and data/masks", f"{count:,} ({size / 1e6:,.0f} MB)")
    form.time("`dvc repro`, nothing to do", partial(form.dvc, "repro"))
    _commit(form)
    present: set[Path] = set()
    if endpoint:
        present = _push(form, "all", present)
        copy = form.folder.with_name("copy")
        form.run("git", "clone", "--quiet", str(form.folder), str(copy))
        form.time("`dvc pull` into an empty clone", partial(form.dvc, "pull", cwd=copy))
        if _files(copy) != (count, size):
            raise SystemExit("dvc pull left other files than were pushed")
        shutil.rmtree(copy)
    steps.prepare_new()
    form.time(*steps.new_frames)
    if endpoint:
        _push(form, "1 % new frames", present)


def _push(form: Form, what: str, present: set[Path]) -> set[Path]:
    """Push, note what was pushed, and return the files of DVC's cache, which the remote now has, too."""
    objects = {path for path in (form.folder / ".dvc" / "cache" / "files").rglob("*") if path.is_file()}
    pushed = objects - present
    form.time(f"`dvc push`, {what}", partial(form.dvc, "push"))
    form.note(
        f"pushed by it: {what}", f"{len(pushed):,} objects, {sum(path.stat().st_size for path in pushed) / 1e6:,.1f} MB"
    )
    return objects


def _files(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for name in OUTPUTS for path in (folder / name).rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _commit(form: Form) -> None:
    form.run("git", "add", "--all")
    form.run("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "all")


def _file_system(folder: str) -> str:
    done = subprocess.run(["stat", "--file-system", "--format=%T", os.path.dirname(folder)],  # noqa: PTH120
                          capture_output=True, text=True, check=False)  # fmt: skip
    return done.stdout.strip() or platform.system()


if __name__ == "__main__":
    main()
