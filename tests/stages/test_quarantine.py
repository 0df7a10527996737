"""A frame that one stage cannot use is set aside there, listed with the reason, and missing from all that follows."""

from __future__ import annotations

import csv
import errno
from dataclasses import replace
from pathlib import Path

import pytest

from tests.encoders.models import noise, save
from tests.shared import shipped_params
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.errors import DataError, SystemFailure
from wildseg.core.files import load_json
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.stages import crf, label
from wildseg.stages.cam import stage as cam
from wildseg.stages.eval import stage as eval

CPU = Runtime(1, "cpu")
FRAMES = [Frame(f"drive_{i:06d}", "drive", i, i / 5, "train" if i < 5 else "test") for i in range(8)]


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    for frame in FRAMES:
        artifacts.save_image(frame.name, noise((32, 48), frame.index))
    artifacts.save_frames(FRAMES)
    return artifacts


@pytest.fixture
def values(project: Artifacts) -> Params:
    whole = shipped_params()
    name, weights = save(project.root, "tiny")
    return replace(
        whole,
        classes=params.Classes.from_mapping({"sky": ["sky"], "tree": "tree"}),
        background=(),
        clip=replace(whole.clip, model=name, pretrained=Path(weights).name),
        label=replace(whole.label, fallback="argmax", max_failures=0.25),
        cam=replace(whole.cam, max_failures=0.25),
        crf=replace(whole.crf, iterations=1, max_failures=0.25),
    )


def listed(artifacts: Artifacts, stage: str) -> list[str]:
    with artifacts.quarantine_csv(stage).open(newline="") as stream:
        return [row["item"] for row in csv.DictReader(stream)]


def names(*numbers: int) -> list[str]:
    return [FRAMES[number].name for number in numbers]


def test_a_frame_that_fails_in_one_stage_is_missing_from_all_that_follow(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    project.overrides_csv.parent.mkdir(parents=True)
    project.overrides_csv.write_text(f"Frame,Labels\n{FRAMES[1].name},sky\n")  # of a frame that cannot be read
    project.frame_path(FRAMES[1].name).write_bytes(b"no picture")
    label.run(values, project, CPU)
    assert ", 1 quarantined" in capsys.readouterr().out
    assert listed(project, "label") == names(1)
    assert list(project.load_labels(values.classes.names)) == names(0, 2, 3, 4, 5, 6, 7)
    assert list(project.load_scores(values.classes.names)) == names(0, 2, 3, 4, 5, 6, 7)

    project.frame_path(FRAMES[2].name).unlink()
    cam.run(values, project, CPU)
    assert listed(project, "cam") == names(1, 2)
    assert sorted(path.stem for path in project.cams_folder.glob("*.npz")) == names(0, 3, 4, 5, 6, 7)

    project.maps_path(FRAMES[6].name).write_bytes(b"no maps")
    crf.run(values, project, CPU)
    assert listed(project, "crf") == names(1, 2, 6)
    assert sorted(path.stem for path in project.masks_folder.glob("*.png")) == names(0, 3, 4, 5, 7)
    assert sorted(path.stem for path in project.confidence_folder.glob("*.png")) == names(0, 3, 4, 5, 7)
    assert load_json(project.metrics_path("crf.json"))["frames"] == 5

    assert [frame.name for frame in project.load_frames("train", after="crf")] == names(0, 3, 4)
    left = [frame.name for group in eval.masks_by_group(values, project) for frame in group.frames]
    assert sorted(left) == names(0, 3, 4, 5, 7)


def test_above_its_share_of_failures_a_stage_stops(project: Artifacts, values: Params) -> None:
    for frame in FRAMES[:3]:
        project.frame_path(frame.name).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"label\.max_failures: expected at most 25% of 8 frames .* found 3"):
        label.run(values, project, CPU)
    assert not project.labels_csv.exists()


def test_scores_are_smoothed_over_frames_that_could_be_read_and_over_those_of_one_video(
    project: Artifacts, values: Params
) -> None:
    # Two videos that alternate in the table, a gap in one, a photo; the second frame of the first cannot be read.
    places = [("a", 0.0), ("b", 0.1), ("a", 0.4), ("b", 0.3), ("a", 0.6), ("photo", None), ("a", 9.0), ("b", 0.5)]
    frames = [replace(frame, source=source, time_s=time) for frame, (source, time) in zip(FRAMES, places, strict=True)]
    project.save_frames(frames)
    project.frame_path(FRAMES[2].name).write_bytes(b"no picture")
    classes, window = values.classes.names, 0.7
    label.run(values, project, CPU)
    plain = project.load_scores(classes)
    label.run(replace(values, label=replace(values.label, smooth_s=window)), project, CPU)
    smoothed = project.load_scores(classes)
    assert list(smoothed) == list(plain) == names(0, 1, 3, 4, 5, 6, 7)
    for number in (0, 1, 3, 4, 5, 6, 7):
        source, time = places[number]
        weights = {
            FRAMES[other].name: max(0.0, 1 - abs(at - time) / window)
            for other, (own, at) in enumerate(places)
            if other != 2 and own == source and at is not None and time is not None
        } or {FRAMES[number].name: 1.0}
        expected = sum(weight * plain[name] for name, weight in weights.items()) / sum(weights.values())
        assert smoothed[FRAMES[number].name] == pytest.approx(expected, abs=2e-6)


def test_a_frame_that_can_be_read_again_comes_back(project: Artifacts, values: Params) -> None:
    good = project.frame_bytes(FRAMES[1].name)
    project.frame_path(FRAMES[1].name).write_bytes(b"no picture")
    label.run(values, project, CPU)
    project.frame_path(FRAMES[1].name).write_bytes(good)
    label.run(values, project, CPU)
    assert listed(project, "label") == []
    assert list(project.load_labels(values.classes.names)) == names(*range(8))


def test_a_disk_that_does_not_answer_stops_the_stage_and_costs_no_frame(
    project: Artifacts, values: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.open

    def failing(path: Path, *arguments: object, **named: object) -> object:
        if path.name == f"{FRAMES[1].name}.jpg":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", failing)
        with pytest.raises(SystemFailure, match=r"drive_000001\.jpg: .* \(Input/output error\); resolve it and run"):
            label.run(values, project, CPU)
    assert not project.quarantine_csv("label").exists()
    label.run(values, project, CPU)
    assert listed(project, "label") == []
