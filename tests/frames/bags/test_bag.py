"""Recordings that other programs wrote, read back: the frames, their times, and what is damaged."""

from __future__ import annotations

import builtins
import sqlite3
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from tests.frames.bags.recordings import ROS1, START_NS, STORE, Message, Row, compressed, raw, write_bag, write_mcap
from tests.frames.clips import number_of, numbered
from wildseg.core.errors import DataError
from wildseg.frames.bags.bag import bag_header, choose_topics, first_size
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.reader import expected, read
from wildseg.frames.sample import Sample
from wildseg.frames.sources import find_sources

MS = 1_000_000
START_S = START_NS / 1e9


def camera(count: int = 8, topic: str = "/camera/image_raw", step_ms: int = 100, **options: object) -> list[Row]:
    """Numbered pictures, logged 7 ms after they were taken."""
    return [
        (n * step_ms * MS + 7 * MS, topic, raw(numbered(n), stamp_ns=START_NS + n * step_ms * MS, **options))
        for n in range(count)
    ]


def samples(path: Path, topic: str | None = None, fps: float | None = None) -> tuple[list[Sample], ReadStats]:
    (source,) = choose_topics(find_sources(path), topic)
    stats = ReadStats()
    return list(read(source, fps, stats)), stats


WRITERS = {
    "db3": lambda folder, rows: write_bag(folder / "drive", rows),
    "db3_packed": lambda folder, rows: write_bag(folder / "drive", rows, packed="MESSAGE"),
    "rosbag2_mcap": lambda folder, rows: write_bag(folder / "drive", rows, "MCAP"),
    "mcap_zstd": lambda folder, rows: write_mcap(folder / "drive.mcap", rows),
    "mcap_lz4": lambda folder, rows: write_mcap(folder / "drive.mcap", rows, compression="LZ4", chunk=100_000),
    "mcap_plain": lambda folder, rows: write_mcap(folder / "drive.mcap", rows, compression="NONE"),
    "mcap_without_chunks": lambda folder, rows: write_mcap(folder / "drive.mcap", rows, chunk=0),
    "mcap_of_ros1": lambda folder, rows: write_mcap(folder / "drive.mcap", rows, ros1=True),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_frames_and_times_are_those_that_were_written(writer: str, tmp_path: Path) -> None:
    rows = camera()
    if writer == "mcap_of_ros1":
        for _, _, message in rows:
            object.__setattr__(message, "header", with_sequence(message.header))
    found, stats = samples(WRITERS[writer](tmp_path, rows))
    assert [sample.name for sample in found] == [f"drive_{n:06d}" for n in range(8)]
    assert [sample.time_s for sample in found] == pytest.approx([START_S + n / 10 for n in range(8)], abs=1e-6)
    for number, sample in enumerate(found):
        assert np.array_equal(sample.pixels.rgb(), numbered(number))
    assert (stats.decoded, stats.sampled, stats.quarantine) == (8, 8, [])


def with_sequence(header: Message) -> Message:
    return ROS1.types["std_msgs/msg/Header"](5, header.stamp, header.frame_id)


def test_log_times_are_used_where_the_camera_set_none_and_times_advance(tmp_path: Path) -> None:
    unset = [(n * 100 * MS, "/image", raw(numbered(n))) for n in range(3)]
    found, _ = samples(write_mcap(tmp_path / "a.mcap", unset))
    assert [sample.time_s for sample in found] == pytest.approx([START_S, START_S + 0.1, START_S + 0.2], abs=1e-6)
    back = [
        (n * 100 * MS, "/image", raw(numbered(n), stamp_ns=START_NS + at * MS)) for n, at in enumerate((0, 500, 90))
    ]
    found, _ = samples(write_mcap(tmp_path / "b.mcap", back))
    times = [sample.time_s - START_S for sample in found if sample.time_s]
    assert times == pytest.approx([0, 0.5, 0.6], abs=1e-6)  # ten messages a second by the index


def test_messages_of_a_chunk_are_in_the_order_of_their_log_times(tmp_path: Path) -> None:
    rows = [(at * MS, "/image", raw(numbered(at))) for at in (0, 30, 10, 20)]
    found, _ = samples(write_mcap(tmp_path / "a.mcap", rows, chunk=10_000_000))
    assert [number_of(sample.pixels.rgb()) for sample in found] == [0, 10, 20, 30]


def test_only_the_messages_that_are_due_are_decoded_and_one_that_is_damaged_is_replaced_by_the_next(
    tmp_path: Path,
) -> None:
    rows = camera(20)
    broken = rows[5][2]
    object.__setattr__(broken, "data", broken.data[:-100])
    object.__setattr__(rows[6][2], "encoding", "32FC1")  # not due: nobody decodes it
    found, stats = samples(write_mcap(tmp_path / "a.mcap", rows), fps=2)
    assert [number_of(sample.pixels.rgb()) for sample in found] == [0, 7, 10, 15]
    assert [item for item, _ in stats.quarantine] == ["a_000005", "a_000006"]
    assert "bytes for 96 rows of 384" in stats.quarantine[0][1]
    assert "32FC1" in stats.quarantine[1][1]
    assert (stats.decoded, stats.damaged) == (20, 2)


def test_the_files_of_a_long_recording_are_one_source_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "drive", camera(2), "MCAP")
    (first,) = folder.glob("*.mcap")
    first.rename(folder / "drive_0.mcap")
    for part in (2, 10):
        write_mcap(folder / f"drive_{part}.mcap", [(at + part * 10**9, t, m) for at, t, m in camera(2)])
    found, stats = samples(folder)
    assert [sample.name for sample in found] == [f"drive_{n:06d}" for n in range(6)]
    assert stats.files == 3
    times = [sample.clock_s for sample in found]
    assert times == sorted(set(times))


def test_recordings_lie_beside_videos_and_photos_in_a_folder(tmp_path: Path) -> None:
    write_bag(tmp_path / "walk", camera(2))
    write_mcap(tmp_path / "drive.mcap", camera(3))
    (tmp_path / "film.mp4").touch()
    (tmp_path / "metadata.yaml").write_text("about: something else")
    found = choose_topics(find_sources(tmp_path), None)
    assert [(source.name, source.kind) for source in found] == [("drive", "bag"), ("film", "video"), ("walk", "bag")]
    assert expected([found[0], found[2]], None) == 5


# Topics --------------------------------------------------------------------------------------------------------------


def test_one_of_several_topics_is_chosen_by_its_name_and_one_line_names_them(tmp_path: Path) -> None:
    rows = [*camera(3, "/left/image_raw"), *camera(3, "/right/image_raw", step_ms=50)]
    path = write_mcap(tmp_path / "a.mcap", rows)
    with pytest.raises(DataError, match=r"found 2: /left/image_raw, /right/image_raw; name one: extract.topic"):
        samples(path)
    found, _ = samples(path, "/right/image_raw")
    assert [sample.time_s for sample in found] == pytest.approx([START_S, START_S + 0.05, START_S + 0.1], abs=1e-6)
    with pytest.raises(DataError, match=r"no such topic; did you mean '/left/image_raw'"):
        samples(path, "/left/image")


def test_a_recording_without_images_says_what_is_in_it(tmp_path: Path) -> None:
    text = STORE.types["std_msgs/msg/String"]("hello")
    path = write_mcap(tmp_path / "a.mcap", [(0, "/talk", text)])
    with pytest.raises(DataError, match=r"found /talk \(std_msgs/msg/String\)"):
        samples(path)
    with pytest.raises(DataError, match="no topic at all"):
        samples(write_mcap(tmp_path / "b.mcap", []))
    path = write_mcap(tmp_path / "c.mcap", [(0, "/talk", text), *camera(2)])
    with pytest.raises(DataError, match="found '/talk', std_msgs/msg/String in it"):
        samples(path, "/talk")
    assert len(samples(path)[0]) == 2


def test_the_header_tells_messages_seconds_and_size(tmp_path: Path) -> None:
    for path in (write_bag(tmp_path / "a", camera(11)), write_mcap(tmp_path / "b.mcap", camera(11))):
        (source,) = choose_topics(find_sources(path), None)
        assert bag_header(source) == (11, 1.0)
        assert bag_header(source).rate == pytest.approx(10)
        assert first_size(source) == (128, 96)


# Damage --------------------------------------------------------------------------------------------------------------


def test_of_a_recording_that_was_cut_off_everything_before_the_cut_is_read(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", camera(8), compression="NONE")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found, stats = samples(path)
    assert 2 <= len(found) <= 4
    assert [number_of(sample.pixels.rgb()) for sample in found] == list(range(len(found)))
    assert stats.lost == 1
    assert "cut off" in stats.quarantine[-1][1]


def test_a_damaged_chunk_costs_its_own_messages_which_the_index_counts(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", camera(8), compression="NONE", chunk=100_000)
    content = bytearray(path.read_bytes())
    place = content.index(numbered(4).tobytes()) + 1000
    content[place] ^= 1
    path.write_bytes(content)
    found, stats = samples(path)
    numbers = [number_of(sample.pixels.rgb()) for sample in found]
    assert 4 not in numbers
    assert stats.lost == 8 - len(numbers) < 8
    assert {0, 7} <= set(numbers)
    assert "a chunk is damaged" in stats.quarantine[0][1]


def test_files_that_are_no_recording_are_quarantined_with_a_reason(tmp_path: Path) -> None:
    for name in ("a.mcap", "a.db3"):
        path = tmp_path / name
        for content in (b"", b"nothing of the kind" * 100):
            path.write_bytes(content)
            found, stats = samples(path)
            assert found == []
            assert len(stats.bad_files) == 1, content


def test_a_damaged_database_gives_what_lies_before_the_damage(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "a", camera(20))
    (path,) = folder.glob("*.db3")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) * 3 // 4] = b"\xff" * (len(content) * 3 // 4 - len(content) // 2)
    path.write_bytes(content)
    found, stats = samples(folder)
    assert stats.quarantine
    for sample in found:
        assert np.array_equal(sample.pixels.rgb(), numbered(sample.index)) or sample.name in dict(stats.quarantine)


def test_a_database_is_opened_for_reading_alone_and_its_journal_is_not_dropped(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "a", camera(2))
    (path,) = folder.glob("*.db3")
    before = sorted(folder.iterdir()), path.read_bytes()
    samples(folder)
    assert (sorted(folder.iterdir()), path.read_bytes()) == before
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("DELETE FROM messages")
        connection.commit()
        _, stats = samples(folder)
    assert "still in its journal" in stats.quarantine[0][1]


def test_packed_files_are_named_with_what_unpacks_them(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "a", camera(2), packed="FILE")
    with pytest.raises(DataError, match=r"packed ones such as 'a.db3.zstd'; unpack them: zstd -d"):
        find_sources(folder)


def test_without_the_extra_one_line_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = write_mcap(tmp_path / "a.mcap", camera(1)), builtins.__import__

    def no_mcap(name: str, *args: object) -> ModuleType:
        if name.split(".")[0] == "mcap":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", no_mcap)
    with pytest.raises(DataError, match=r"a\.mcap: .* not installed; pip install 'wildseg\[ros\]'"):
        samples(path)


def test_compressed_images_are_read_too(tmp_path: Path) -> None:
    rows = [
        (
            n * 100 * MS,
            "/image/compressed",
            compressed(numbered(n), "rgb8; png compressed rgb8", START_NS + n * 100 * MS),
        )
        for n in range(3)
    ]
    found, stats = samples(write_bag(tmp_path / "a", rows))
    assert all(np.array_equal(sample.pixels.rgb(), numbered(n)) for n, sample in enumerate(found))
    assert not stats.quarantine
