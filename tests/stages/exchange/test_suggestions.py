"""`wildseg suggest` and `export --first`: the frames that would be corrected, and what there is to say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.stages import tiny_run
from tests.stages.exchange.test_corrections import run
from tests.stages.exchange.test_mask_export import artifacts  # noqa: F401
from tests.stages.tiny_run import LAWN, SKY, rows

from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.images import save_label_image


@pytest.fixture
def project(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> Artifacts:  # noqa: F811
    """All four frames are trained on; the model answers lawn everywhere."""
    monkeypatch.setenv("WILDSEG_WORKERS", "1")  # in this process, which has imported PyTorch
    artifacts.save_frames([Frame(f.name, f.source, f.index, f.time_s, "train") for f in tiny_run.FRAMES])
    return artifacts


def test_frames_are_listed_by_what_pseudo_mask_and_model_dispute(project: Artifacts) -> None:
    # Masks: sky, sky, lawn, undecided; lawn; undecided; sky.
    lines = run("suggest").output.splitlines()[-4:]
    assert [line.split() for line in lines] == [
        ["frame", "disputed", "mostly"],
        ["other_000010", "100.0%", "lawn,", "sky"],
        ["drive_000000", "75.0%", "lawn,", "sky"],
        ["other_000000", "100.0%", "lawn"],
    ]
    assert run("suggest", "--number", "1").output.splitlines()[-1].startswith("other_000010")


def test_first_frames_are_exported_in_place_of_all(project: Artifacts) -> None:
    answer = run("export", "masks", "--first", "2")
    assert "masks of 2 frames as masks" in answer.output
    assert "other_000010    100.0%" in answer.output
    assert json.loads(Path("exports/masks/export.json").read_text())["frames"] == ["drive_000000", "other_000010"]
    answer = run("export", "masks", "drive_000000", "--first", "2", "--replace")
    assert answer.exit_code == 2
    assert "leave out FRAMEs and --split" in answer.output


def test_corrected_frames_are_not_suggested_again(project: Artifacts) -> None:
    save_label_image(Path("data/corrected/other/other_000010.png"), rows(SKY, SKY, SKY, LAWN))
    assert "other_000010" not in run("suggest").output
    for frame in tiny_run.FRAMES:
        save_label_image(Path(f"data/corrected/{frame.source}/{frame.name}.png"), rows(SKY, SKY, SKY, LAWN))
    assert "expected training frames without a corrected mask, found none of 4" in run("suggest").output


def test_nothing_to_correct_is_an_error_and_exports_nothing(project: Artifacts) -> None:
    for frame in tiny_run.FRAMES:
        project.save_mask(frame.name, rows(LAWN, LAWN, LAWN, LAWN))
    answer = run("export", "masks", "--first", "2")
    assert answer.exit_code == 1
    assert "expected pixels on which pseudo masks and model disagree, found none in 4 frames" in answer.output
    assert not Path("exports").exists()
