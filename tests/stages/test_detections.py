"""`wildseg detect` on a few frames, with a tiny detector of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.labels import tiny_detectors
from tests.stages.tiny_run import ROOT
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cli.main import main
from wildseg.core.errors import WildsegError
from wildseg.execution import params
from wildseg.stages.detections import thresholds


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    rng = np.random.default_rng(0)
    frames = [Frame(f"a_{index:06d}", "a", index, None, "train") for index in range(2)]
    artifacts.save_frames(frames)
    for frame in frames:
        artifacts.save_image(frame.name, rng.integers(0, 256, (48, 80, 3), np.uint8))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    tiny_detectors.owlv2(tmp_path / "owl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WILDSEG_CACHE", "off")
    monkeypatch.setenv("WILDSEG_WORKERS", "1")
    return artifacts


def test_boxes_and_labels_are_what_the_next_stages_read(project: Artifacts) -> None:
    arguments = ["detect", "--method", "owlv2", "--model", "owl", "--into", "data/labels/boxes.json"]
    presence = ["--labels", "data/labels/given.csv", "--presence", "0.9", "--presence", "sky=0.1"]
    answer = CliRunner().invoke(main, [*arguments, "--threshold", "0.1", *presence])
    assert answer.exit_code == 0, answer.output
    names = params.load("params.yaml").classes.names
    found = project.load_boxes(names, project.limits_json)
    assert list(found) == ["a_000000", "a_000001"]
    labels = project.load_labels(names, project.data / "labels" / "given.csv")
    number = 0
    for frame, here in found.items():
        boxes = here.boxes
        number += len(boxes)
        assert (here.width, here.height) == (80, 48)
        assert ((boxes[:, :4] >= 0) & (boxes[:, :4] <= [80, 48, 80, 48])).all()
        for index, name in enumerate(names):
            scores = boxes[boxes[:, 4] == index + 1, 5]
            assert labels[frame][index] == (scores.size > 0 and scores.max() >= (0.1 if name == "sky" else 0.9))
    assert number > 0
    line = f"detect: 2 frames, {number} boxes by owlv2 in data/labels/boxes.json, labels in data/labels/given.csv"
    assert line in answer.output


def test_a_frame_that_cannot_be_read_is_left_out_and_named(project: Artifacts) -> None:
    project.frame_path("a_000000").write_bytes(b"no picture")
    arguments = ["detect", "--method", "owlv2", "--model", "owl", "--into", "b.json", "--labels", "l.csv"]
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 1  # half of the frames are more than label.max_failures
    assert not (project.root / "b.json").exists()
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(text.replace("max_failures: 0.01", "max_failures: 0.5"))
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 0, answer.output
    assert "detect: 1 frames, " in answer.output
    assert "\n  left out: a_000000 (" in answer.output
    names = params.load("params.yaml").classes.names
    assert list(project.load_boxes(names, project.root / "b.json")) == ["a_000001"]
    assert list(project.load_labels(names, project.root / "l.csv")) == ["a_000001"]


def test_what_was_answered_is_kept_for_the_model_the_words_and_the_threshold(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", "")

    def run(*arguments: str, model: str = "owl") -> str:
        answer = CliRunner().invoke(
            main, ["detect", "--method", "owlv2", "--model", model, "--into", "b.json", *arguments]
        )
        assert answer.exit_code == 0, answer.output
        return answer.output

    assert "cache" not in run("--threshold", "0.1")
    first = (project.root / "b.json").read_bytes()
    assert ", 2 from the cache" in run("--threshold", "0.1")
    assert (project.root / "b.json").read_bytes() == first
    assert ", 2 from the cache" in run("--threshold", "0.1", "--iou", "0.9")  # boxes are thinned afterwards
    assert (project.root / "b.json").read_bytes() != first
    assert "cache" not in run("--threshold", "0.2")
    project.save_image("a_000001", np.zeros((48, 80, 3), np.uint8))
    assert ", 1 from the cache" in run("--threshold", "0.1")
    (project.root / "owl").rename(project.root / "same")
    assert ", 2 from the cache" in run("--threshold", "0.1", model="same")
    config = project.root / "same" / "processor_config.json"
    config.write_text(config.read_text() + "\n")
    assert "cache" not in run("--threshold", "0.1", model="same")
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(text.replace("  - clouds\n", ""))
    assert "cache" not in run("--threshold", "0.1", model="same")


@pytest.mark.usefixtures("forked_workers")
def test_any_number_of_workers_writes_the_same_bytes(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for workers in ("1", "2"):
        monkeypatch.setenv("WILDSEG_WORKERS", workers)
        arguments = ["detect", "--method", "owlv2", "--model", "owl", "--into", "b.json", "--threshold", "0.1"]
        answer = CliRunner().invoke(main, arguments)
        assert answer.exit_code == 0, answer.output
        written.append((project.root / "b.json").read_bytes())
    assert written[0] == written[1]
    monkeypatch.setenv("WILDSEG_WORKERS", "2")
    answer = CliRunner().invoke(main, ["detect", "--method", "owlv2", "--model", "nowhere", "--into", "b.json"])
    assert answer.exit_code == 1
    assert answer.output.startswith(
        "wildseg: error: nowhere: expected a folder, or the name on the model hub, of OWLv2"
    )


@pytest.mark.parametrize("option", ["--into", "--labels"])
def test_a_folder_to_write_into_is_told_before_anything_is_loaded(project: Artifacts, option: str) -> None:
    files = {"--into": "b.json", "--labels": "l.csv"} | {option: "data"}
    arguments = [word for pair in files.items() for word in pair]
    answer = CliRunner().invoke(main, ["detect", "--method", "owlv2", "--model", "nowhere", *arguments])
    assert answer.exit_code == 1
    assert f"{option}: expected a file to write, found the folder data" in answer.output


def test_thresholds_are_for_all_or_for_one() -> None:
    names = ["sky", "lawn"]
    assert thresholds([], names, 0.25) == [0.25, 0.25]
    assert thresholds(["lawn=0.5"], names, 0.25) == [0.25, 0.5]
    assert thresholds(["lawn=0.5", "0.3"], names, 0.25) == [0.3, 0.5]


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ("lwan=0.5", "there is no such class; did you mean 'lawn'?"),
        ("lawn=high", "expected a number from 0 to 1, or a class with one as in lawn=0.2; found 'lawn=high'"),
        ("1.5", "found '1.5'"),
        ("nan", "found 'nan'"),
        ("=0.5", "there is no such class"),
        ("0.2", "--presence 0.2: expected no less than the lowest score of a box, --threshold 0.25; lower that, too"),
        ("lawn=0.2", "--threshold 0.25"),
    ],
)
def test_a_wish_that_means_nothing_is_told(wish: str, line: str) -> None:
    with pytest.raises(WildsegError) as caught:
        thresholds([wish], ["sky", "lawn"], 0.25)
    assert line in str(caught.value)


def test_a_detector_that_does_not_exist_is_told(project: Artifacts) -> None:
    answer = CliRunner().invoke(main, ["detect", "--method", "owlv3", "--model", "owl", "--into", "b.json"])
    assert answer.exit_code == 1
    assert (
        "--method: expected one of grounding_dino, owlv2, yolo_world; found 'owlv3'; did you mean 'owlv2'?"
        in answer.output
    )
