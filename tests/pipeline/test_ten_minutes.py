"""docs/ten_minutes.md, run from its first command to its last in a small project in place of the demo."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.frames.clips import write_clip
from tests.pages import ROOT, code
from tests.pipeline.conftest import Project

# What the fixture `project` is already: installed, and run once.
DONE = ("make demo", ". .venv/bin/activate")


@pytest.mark.slow
def test_the_commands_of_the_page_run_in_their_order(project: Project, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    lines = [line for _, line in code((ROOT / "docs" / "ten_minutes.md").read_text(encoding="utf-8"))]
    assert [line for line in lines if line in DONE] == list(DONE)
    home = tmp_path / "home"
    home.mkdir()
    write_clip(home / "trip.mp4", 20)
    frame = (project.folder / "data" / "frames" / "frames.csv").read_text().splitlines()[1].split(",")[0]
    said = {}
    for line in (line for line in lines if line not in DONE):
        shown = line.replace("drive_000024", frame)
        if shown.startswith("wildseg explain"):
            shown = shown.replace("lawn", most_predicted(project, frame))
        said[line] = project.run("bash", "-ec", shown, HOME=str(home), WILDSEG_TRACKING="off", **project.forked())

    assert "Running stage 'label'" in said["dvc repro"]  # the second one, after a correction
    assert "min_confidence" in said["dvc exp show --only-changed"]
    assert re.search(r"mIoU", said["wildseg summary"])
    labels = (project.folder / "data" / "labels" / "labels.csv").read_text()
    assert f'"{frame}","sky,tree,lawn"' in labels.splitlines()
    assert (project.folder / "predictions" / "overlay" / f"{frame}.jpg").is_file()
    assert list((project.folder / "explain" / frame).glob("*.png"))
    assert (project.folder / "segmenter.onnx").is_file()
    params = (home / "field" / "params.yaml").read_text()
    assert "tall_grass" in params or "tall grass" in params
    assert (home / "field" / "data" / "raw" / "trip.mp4").is_file()


def most_predicted(project: Project, frame: str) -> str:
    """The class that the small model predicts most in a frame."""
    ids = np.asarray(Image.open(project.folder / "predictions" / f"{frame}.png"))
    number = int(np.bincount(ids[ids > 0]).argmax())
    return list(project.params()["classes"])[number - 1]
