"""Results of a run as eval leaves them, of made-up frames, in a project of git and DVC: each state is a commit."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import numpy as np
import yaml
from dvc.repo import Repo

from wildseg.artifacts.frame_counts import FrameCountsFile
from wildseg.artifacts.project import Artifacts
from wildseg.core.colours import palette
from wildseg.core.files import save_bytes, save_json
from wildseg.metrics.confusion import confusion_matrix
from wildseg.metrics.frame_counts import HELD_OUT, SEEN, FrameCounts, of_confusion, of_image_labels
from wildseg.metrics.intervals import of_labels
from wildseg.report.frame_numbers import frame_numbers
from wildseg.report.page import Page, render
from wildseg.report.page_frames import frame_entry
from wildseg.report.page_tables import WithoutTruth
from wildseg.report.sheets import photo, sheet_of_ids

NAMES = ("lawn", "<b>road</b>", "sky")
PIPELINE = """
stages:
  eval:
    cmd: "false"
    params: [cam]
    metrics: [metrics/headline.json: {cache: false}]
    outs:
      - metrics/eval.json: {cache: false}
      - metrics/eval/counts.csv
      - metrics/report/index.html
      - metrics/report/frames
"""
FRAMES = 16  # of seen sources, and half as many of held-out ones; every two of them are a stretch
SIZE = (24, 32)  # height, width


def frame_name(index: int, prefix: str = "drive") -> str:
    """A name with letters that a path in a page has to encode."""
    return f"{prefix} #1 & 100% é_{index:06d}"


def truth_and_answers(index: int, skill: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, pseudo mask and prediction of a frame; the truth is the same whatever the skill."""
    truth = np.random.default_rng(index).integers(1, 4, SIZE).astype(np.uint8)
    noise = np.random.default_rng((index, round(skill * 1000)))
    hard = skill - 0.1 * (index % 3)
    answers = []
    for more in (0.05, 0.0):
        wrong = noise.integers(1, 4, SIZE)
        answers.append(np.where(noise.random(SIZE) < hard + more, truth, wrong).astype(np.uint8))
    answers[0][0, : index % 5] = 255
    return truth, answers[0], answers[1]


def write(
    root: Path, skill: float, names: Sequence[str] = NAMES, prefix: str = "drive", truth: bool = True,
    counts: bool = True, **cam: object,
) -> None:  # fmt: skip
    """Write params.yaml and metrics; `skill` is the share of pixels that the model has right by itself."""
    artifacts = Artifacts(root)
    params = {
        "classes": {name: [f"a {name}"] for name in names},
        "background": [],
        "cam": cam,
        "extract": {"source": "data/raw"},
    }
    save_bytes(root / "params.yaml", yaml.safe_dump(params, sort_keys=False).encode())
    artifacts.empty_report()
    rows, entries = [], []
    for index in range(FRAMES + FRAMES // 2):
        true, mask, found = truth_and_answers(index, skill)
        name = frame_name(index, prefix)
        numbers = frame_numbers(mask, mask, found, np.full(SIZE, 0.5), true if truth else None, len(names) + 1)
        entries.append(
            frame_entry(name, prefix, "tested on", None, [], {**numbers, "size": [SIZE[1], SIZE[0]], "maps": []}, "")
        )
        save_bytes(artifacts.report_picture("photo", name), photo(np.full((*SIZE, 3), 7 * index, np.uint8)))
        sheet = sheet_of_ids([mask, found, true] if truth else [mask, found], palette(names))
        save_bytes(artifacts.report_picture("ids", name), sheet)
        everything = np.ones(len(names), bool)
        levels = {level: of_confusion(confusion_matrix(true, ids, len(names) + 1))
                  for level, ids in (("maps", mask), ("masks", mask), ("model", found))}  # fmt: skip
        levels["labels"] = of_image_labels(of_labels(everything, everything, everything))
        group = SEEN if index < FRAMES else HELD_OUT
        tested = index % 4 != 0 or group == HELD_OUT
        rows.append(FrameCounts(name, group, f"{prefix} {index // 2}", tested, levels))
    page = Page(["background", *names], palette(names), False, [], [], [], WithoutTruth(), [], entries, len(entries))
    artifacts.save_report(render(page)[0])
    save_json(artifacts.metrics_path("eval.json"), {"segmenter": {"miou": skill if truth else None}, "unseen": None})
    save_json(
        artifacts.metrics_path("headline.json"), {"miou": skill if truth else None, "coverage": 0.9 + skill / 100}
    )
    table = FrameCountsFile(root)
    table.counts_csv.unlink(missing_ok=True)
    table.save_counts(names, rows if truth else [])
    pipeline = PIPELINE if counts else PIPELINE.replace("      - metrics/eval/counts.csv\n", "")
    save_bytes(root / "dvc.yaml", pipeline.encode())


def git(root: Path, *arguments: str) -> str:
    """Run git as somebody."""
    named = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(root), *named, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def begin(root: Path) -> None:
    """Make a project of git and DVC."""
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.name", "A")
    git(root, "config", "user.email", "a@example.org")
    with chdir(root):
        Repo.init().close()
        save_bytes(root / ".gitignore", b"/diff/\n")


def commit(root: Path, message: str, tag: str) -> None:
    """Record what lies there in DVC and git."""
    with chdir(root), Repo() as repo:
        repo.commit("eval", force=True)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    git(root, "tag", tag)
