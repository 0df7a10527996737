from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.frames.clips import write_clip
from tests.frames.interlaced import BAR, START, STEP, bar_columns, write_interlaced
from tests.frames.test_video import look
from wildseg.frames import video
from wildseg.frames.deinterlace import REMARK, deinterlaced
from wildseg.frames.sources import find_sources

FILES = {
    "avchd.mts": ("libx264", "yuv420p", {"x264-params": "tff=1:bframes=2", "crf": "8"}, True),
    "bottom_first.mp4": ("libx264", "yuv420p", {"x264-params": "bff=1", "crf": "8"}, False),
    "dvd.mpg": ("mpeg2video", "yuv420p", {"flags": "+ildct+ilme", "b": "8M"}, True),
    "editor.mov": ("prores_ks", "yuv422p10le", {"flags": "+ildct"}, True),
    "lossless.mkv": ("ffv1", "yuv420p", {}, False),
}


@pytest.mark.parametrize("name", FILES)
def test_a_moving_bar_lies_in_the_same_columns_in_all_rows(tmp_path: Path, name: str) -> None:
    codec, pixel_format, options, top_first = FILES[name]
    path = write_interlaced(tmp_path / name, codec, pixel_format, top_first=top_first, **options)
    frames, stats = look(path)
    assert [frame.index for frame in frames] == list(range(6))
    times = [frame.clock_s - frames[0].clock_s for frame in frames]
    assert times == pytest.approx([n / 25 for n in range(6)], abs=1e-3)
    for number, frame in enumerate(frames):
        first = START + 2 * STEP * number
        assert bar_columns(frame.pixels.rgb()) == {(first, first + BAR - 1)}
        assert frame.pixels.grey().shape == (288, 352)
    assert stats.notes == [(name, REMARK)]
    assert (stats.decoded, stats.quarantine) == (6, [])


@pytest.mark.parametrize("name", ["a.avi", "a.dv"])
def test_dv_is_deinterlaced_and_made_square(tmp_path: Path, name: str) -> None:
    path = write_interlaced(tmp_path / name, "dvvideo", "yuv420p", top_first=False, size=(720, 576), flags="+ildct")
    assert find_sources(tmp_path)[0].paths == (path,)
    frames, stats = look(path)
    assert len(stats.notes) == 2
    for number, frame in enumerate(frames):
        picture = frame.pixels.rgb()
        assert picture.shape == (576, 768, 3)
        edges = np.array(sorted(bar_columns(picture))) * 15 / 16  # of columns as they are stored
        first = START + 2 * STEP * number
        assert np.abs(edges - (first, first + BAR - 1)).max() < 3


def test_frames_that_are_not_interlaced_keep_their_bytes_also_among_others(tmp_path: Path) -> None:
    whole = frozenset({0, 2, 3})
    path = write_interlaced(tmp_path / "a.mkv", "ffv1", "yuv420p", progressive=whole)
    stored = decoded(path)
    assert [frame.interlaced_frame for frame in stored] == [n not in whole for n in range(6)]
    frames, _ = look(path)
    for number in whole:
        expected = stored[number].reformat(format="rgb24", interpolation=video.SCALING).to_ndarray()
        np.testing.assert_array_equal(frames[number].pixels.rgb(), expected)
    for number in {*range(6)} - whole:
        assert len(bar_columns(frames[number].pixels.rgb())) == 1


@pytest.mark.parametrize("damaged", [{2}, {0}, {5}, {1, 2, 4}])
def test_one_frame_comes_for_each_whatever_is_damaged(tmp_path: Path, damaged: set[int]) -> None:
    stored = decoded(write_interlaced(tmp_path / "a.mkv", "ffv1", "yuv420p"))
    frames = [(frame, "broken" if number in damaged else None) for number, frame in enumerate(stored)]
    runs = [list(deinterlaced(frames)) for _ in range(2)]
    for found in runs:
        assert [(frame, damage) for frame, damage, _ in found] == frames
        assert [shown is frame for frame, _, shown in found] == [number in damaged for number in range(6)]
    for (_, _, first), (_, _, second) in zip(*runs, strict=True):
        np.testing.assert_array_equal(first.to_ndarray(), second.to_ndarray())


def test_a_damaged_frame_leaves_no_trace_in_its_neighbours(tmp_path: Path) -> None:
    shown = []
    for noise in (1, 2):
        stored = decoded(write_interlaced(tmp_path / "a.mkv", "ffv1", "yuv420p"))
        plane = stored[2].planes[0]
        plane.update(np.random.default_rng(noise).bytes(plane.buffer_size))
        frames = [(frame, "broken" if number == 2 else None) for number, frame in enumerate(stored)]
        shown.append([picture.to_ndarray() for _, _, picture in deinterlaced(frames)])
    for number in (0, 1, 3, 4, 5):
        np.testing.assert_array_equal(shown[0][number], shown[1][number])


def test_a_file_whose_size_changes_keeps_all_frames(tmp_path: Path) -> None:
    parts = [
        write_interlaced(tmp_path / f".{n}.ts", "libx264", "yuv420p", size=size, count=3, **{"x264-params": "tff=1"})
        for n, size in enumerate([(352, 288), (384, 192), (352, 288)])
    ]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, _ = look(tmp_path / "a.ts")
    assert [frame.pixels.rgb().shape[1] for frame in frames] == [352] * 3 + [384] * 3 + [352] * 3
    assert all(len(bar_columns(frame.pixels.rgb())) == 1 for frame in frames)


def test_progressive_video_does_not_wait_for_the_next_frame(tmp_path: Path) -> None:
    given = []

    def frames() -> Iterator[tuple[av.VideoFrame, None]]:
        for frame in decoded(write_clip(tmp_path / "a.mp4", 3)):
            given.append(frame)
            yield frame, None

    for number, (frame, _, shown) in enumerate(deinterlaced(frames())):
        assert frame is shown is given[-1]
        assert len(given) == number + 1


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))
