"""Maps of neighbouring frames in the stage crf: what they change, what their change recomputes, and what is said."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.stages.test_crf import ALONE, PAIR, files, params
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.errors import DataError
from wildseg.core.files import load_json
from wildseg.crf.params import Temporal
from wildseg.execution import result_store
from wildseg.stages.crf import run
from wildseg_demo.world.video import open_video

HEIGHT, WIDTH, STEP = 48, 64, 3  # the camera moves so many pixels to the right from a video frame to the next
KEYS = (0, 2, 4, 8)
CUT = 8  # the first frame of another place


def world(place: int) -> np.ndarray:
    noise = np.random.default_rng(place).normal(size=(HEIGHT, WIDTH + 40, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def picture(index: int) -> np.ndarray:
    left = STEP * (index - CUT * (index >= CUT))
    return world(int(index >= CUT))[:, left : left + WIDTH]


def maps_of(index: int) -> np.ndarray:
    upper = np.random.default_rng(index).uniform(0.2, 0.8, (6, 8)).astype(np.float32)
    return np.stack([upper, 1 - upper])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """Four key frames of a video, the last beyond a cut, and two photos."""
    monkeypatch.delenv(result_store.VARIABLE, raising=False)
    (tmp_path / "source").mkdir()
    with open_video(tmp_path / "source" / "drive.mp4", (WIDTH, HEIGHT), 5) as append:
        for index in range(10):
            append(picture(index))
    artifacts = Artifacts(tmp_path)
    frames = [Frame(f"drive_{index:06d}", "drive", index, index / 5, "train") for index in KEYS]
    frames += [Frame(f"photos_{index:06d}", "photos", index, None, "train") for index in range(2)]
    artifacts.save_frames(frames)
    for frame in frames:
        artifacts.save_image(frame.name, picture(frame.index))
        artifacts.save_maps(frame.name, np.array([0, 2]), maps_of(frame.index))
    return artifacts


def with_neighbours(**changes: Any) -> Any:  # noqa: ANN401
    values = {"neighbours": 1, "within_s": 2.0, "weight": 1.0, "min_consistent": 0.5, "between": 0, **changes}
    found = params(iterations=0, min_confidence=0.0, temporal=Temporal(**values))
    found.extract = type("Extract", (), {"source": "source", "topic": None})
    return found


def computed(project: Artifacts, capsys: pytest.CaptureFixture[str], values: Any, runtime: Any = ALONE) -> int:  # noqa: ANN401
    """Run the stage; return how many frames were not in the result store."""
    capsys.readouterr()
    run(values, project, runtime)
    number = re.search(r"crf: (\d+) frames.*?(?:, (\d+) from the cache)?$", capsys.readouterr().out.strip())
    assert number is not None
    return int(number[1]) - int(number[2] or 0)


def test_a_neighbour_counts_by_its_own_priors(project: Artifacts) -> None:
    names = [frame.name for frame in project.load_frames()]
    values = with_neighbours()
    values.crf = replace(values.crf, label_prior=1.0)
    priors = np.ones((len(names), 3))
    found = []
    for of_neighbour in (1.0, 0.01):
        priors[1, 0] = of_neighbour  # of drive_000002, beside drive_000000
        project.save_priors(names, ["lawn", "road", "sky"], priors)
        run(values, project, ALONE)
        found.append(project.load_mask(names[0]) == 1)
    assert found[1].sum() < found[0].sum()
    assert not (found[1] & ~found[0]).any()


def test_off_is_byte_for_byte_what_no_neighbours_give(project: Artifacts) -> None:
    run(with_neighbours(neighbours=0, between=5), project, ALONE)
    off = files(project)
    run(with_neighbours(weight=0.0), project, ALONE)
    assert files(project) == off
    run(with_neighbours(within_s=0.1), project, ALONE)  # none is so near
    assert files(project) == off


def test_neighbours_take_part_photos_and_what_lies_beyond_a_cut_do_not(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    run(with_neighbours(neighbours=0), project, ALONE)
    off = files(project)
    capsys.readouterr()
    run(with_neighbours(), project, ALONE)
    on = files(project)
    changed = {Path(name).stem for name in on if on[name] != off[name]}
    assert changed == {f"drive_{index:06d}" for index in KEYS[:3]}
    # 0 and 2, 2 and 4 are neighbours both ways; between 4 and 8 is the cut, seen from both sides.
    assert "maps of 4 neighbours averaged in (2 more are beyond a cut)" in capsys.readouterr().out
    assert load_json(project.metrics_path("crf.json"))["frames"] == 6


def test_without_neighbours_no_video_is_asked_for(project: Artifacts) -> None:
    shutil.rmtree(project.root / "source")
    run(with_neighbours(between=3, within_s=0.1), project, ALONE)
    assert len(files(project)) == 2 * (len(KEYS) + 2)
    with pytest.raises(DataError, match=r"source: expected a video or a folder .*found nothing; check extract\.source"):
        run(with_neighbours(between=3), project, ALONE)


def test_any_number_of_workers_writes_the_same_bytes(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(result_store.VARIABLE, "off")
    run(with_neighbours(between=1), project, ALONE)
    alone = files(project)
    run(with_neighbours(between=1), project, PAIR)
    assert files(project) == alone


def test_changed_maps_recompute_their_frame_and_its_neighbours_alone(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert computed(project, capsys, with_neighbours()) == 6
    assert computed(project, capsys, with_neighbours()) == 0
    before = files(project)
    project.save_maps("drive_000000", np.array([0, 2]), maps_of(77))
    assert computed(project, capsys, with_neighbours()) == 2  # itself and drive_000002
    after = files(project)
    assert {Path(name).stem for name in after if after[name] != before[name]} == {"drive_000000", "drive_000002"}
    project.save_maps("photos_000000", np.array([0, 2]), maps_of(78))
    assert computed(project, capsys, with_neighbours()) == 1
    assert computed(project, capsys, with_neighbours(neighbours=2)) == 6
    project.save_maps("drive_000004", np.array([0, 2]), maps_of(79))
    assert computed(project, capsys, with_neighbours(neighbours=2)) == 4  # all of the video
    assert computed(project, capsys, with_neighbours(neighbours=0)) == 6
    project.save_maps("drive_000004", np.array([0, 2]), maps_of(80))
    assert computed(project, capsys, with_neighbours(neighbours=0)) == 1


def test_frames_in_between_are_decoded_for_the_flow_and_removed(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    run(with_neighbours(), project, ALONE)
    directly = files(project)
    assert computed(project, capsys, with_neighbours(between=1)) == 6
    through = files(project)
    assert {Path(name).stem for name in through if through[name] != directly[name]} >= {"drive_000000", "drive_000002"}
    assert not (project.scratch_folder / "between").exists()
    assert computed(project, capsys, with_neighbours(between=1)) == 0  # though they were decoded again
    project.save_maps("drive_000000", np.array([0, 2]), maps_of(77))
    assert computed(project, capsys, with_neighbours(between=1)) == 2


def test_frames_between_those_of_a_recording_are_those_of_its_topic(project: Artifacts) -> None:
    pytest.importorskip("mcap")
    pytest.importorskip("rosbags")
    from tests.frames.bags.recordings import START_NS, raw, write_mcap

    (project.root / "source/drive.mp4").rename(project.root / "drive.mp4")
    step = 200_000_000
    rows = [(n * step + at, topic, raw(pixels, stamp_ns=START_NS + n * step))
            for n in range(10) for at, topic, pixels in ((0, "/front", picture(n)), (1, "/back", world(9)[:, :WIDTH]))
            ]  # fmt: skip
    write_mcap(project.root / "source/drive.mcap", rows)
    values = with_neighbours()
    values.extract = type("Extract", (), {"source": "source", "topic": "/front"})
    run(values, project, ALONE)
    directly = files(project)
    values = with_neighbours(between=1)
    with pytest.raises(DataError, match="expected one topic of images, found 2: /back, /front"):
        run(values, project, ALONE)
    values.extract = type("Extract", (), {"source": "source", "topic": "/front"})
    run(values, project, ALONE)
    through = files(project)
    changed = {Path(name).stem for name in through if through[name] != directly[name]}
    assert changed >= {"drive_000000", "drive_000002"}
    values.extract = type("Extract", (), {"source": "source", "topic": "/back"})
    run(values, project, ALONE)
    assert files(project) != through


def test_a_neighbour_that_is_broken_is_left_out_and_set_aside_where_it_is_a_frame_of_its_own(
    project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    project.maps_path("drive_000002").write_bytes(b"nothing")
    project.frame_path("drive_000004").write_bytes(b"nothing")
    values = with_neighbours()
    values.crf = type(values.crf)(**{**vars(values.crf), "max_failures": 0.5})
    run(values, project, ALONE)
    assert {name for name, _ in project.load_quarantine("crf")} == {"drive_000002", "drive_000004"}
    assert "maps of 0 neighbours averaged in" in capsys.readouterr().out
    assert project.load_mask("drive_000000").shape == (HEIGHT, WIDTH)
