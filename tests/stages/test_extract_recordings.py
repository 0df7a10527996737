"""Stage 1 on recordings of robots: rosbag2 and MCAP beside videos and photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from tests.frames.bags.recordings import START_NS, raw, write_bag, write_mcap
from tests.frames.clips import number_of, numbered, write_clip
from tests.stages.test_extract import run
from wildseg.artifacts.project import Artifacts
from wildseg.cli.new.media import measure
from wildseg.core.errors import DataError
from wildseg.core.tables import load_table
from wildseg.frames.read_stats import ReadStats
from wildseg.stages.prediction.inputs import find_inputs

MS = 1_000_000


def rows(topic: str = "/image", count: int = 10) -> list:
    return [(n * 100 * MS, topic, raw(numbered(n), stamp_ns=START_NS + n * 100 * MS)) for n in range(count)]


def test_a_recording_becomes_key_frames_with_the_times_of_its_camera(tmp_path: Path) -> None:
    project = Artifacts(tmp_path)
    write_bag(tmp_path / "data" / "raw" / "walk", rows())
    write_mcap(tmp_path / "data" / "raw" / "drive.mcap", rows())
    write_clip(tmp_path / "data" / "raw" / "film.mp4", 5)
    report = run(project)
    assert report["sources"] == {"drive": 10, "film": 5, "walk": 10}
    frames = project.load_frames()
    for frame in (frame for frame in frames if frame.source != "film"):
        assert frame.time_s == pytest.approx(START_NS / 1e9 + frame.index / 10, abs=1e-5)
        assert number_of(project.load_image(frame.name)) == frame.index
    # By time: seven train, one validates, two test.
    assert [frame.split for frame in frames if frame.source == "walk"] == ["train"] * 7 + ["val"] + ["test"] * 2


def test_damaged_messages_are_quarantined_and_another_topic_is_another_result(tmp_path: Path) -> None:
    project = Artifacts(tmp_path)
    (tmp_path / "data" / "raw").mkdir(parents=True)
    both = [*rows("/left"), *rows("/right", 6)]
    object.__setattr__(both[3][2], "data", both[3][2].data[:-1])
    write_mcap(tmp_path / "data" / "raw" / "drive.mcap", sorted(both, key=lambda row: row[0]))
    with pytest.raises(DataError, match="expected one topic of images, found 2: /left, /right"):
        run(project)
    assert run(project, topic="/left")["kept"] == 9
    table = load_table(project.frames_folder / "quarantine.csv", ("item", "reason"))
    assert [row["item"] for row in table] == ["drive_000003"]
    assert run(project, topic="/right")["kept"] == 6  # although the file is the same
    with pytest.raises(DataError, match="found 1 of 10, first drive_000003"):
        run(project, topic="/left", max_failures=0.05)


def test_a_recording_is_predicted_and_measured_like_a_video(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "drive.mcap", [*rows("/left"), *rows("/right", 6)])
    with pytest.raises(DataError, match="found 2"):
        find_inputs(Artifacts(tmp_path), [str(path)])
    (one,) = find_inputs(Artifacts(tmp_path), [str(path)], "/right")
    assert (one.name, one.total) == ("drive", 6)
    assert float(one.rate) == pytest.approx(6 / 0.9, rel=1e-3)  # the index has the span of the file alone
    found = list(one.frames(ReadStats()))
    assert [item.name for item in found] == [f"drive/drive_{n:06d}" for n in range(6)]
    assert all(np.array_equal(item.pixels, numbered(n)) for n, item in enumerate(found))
    (media,) = measure(path, "/left")
    assert (media.width, media.height, media.seconds, media.photos) == (128, 96, 0.9, 0)
    assert media.rate == pytest.approx(10)
