from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tests.frames.clips import cut_off, damage, number_of, numbered, write_clip
from wildseg.core.errors import DataError
from wildseg.frames.image import grey
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.reader import expected, read
from wildseg.frames.sample import Sample
from wildseg.frames.sources import Source, find_sources
from wildseg.frames.video import Clock, VideoPixels
from wildseg.methods.keyframes.absdiff import select


def look(path: Path, fps: float | None = None) -> tuple[list[Sample], ReadStats]:
    stats = ReadStats()
    return list(read(Source("drive", "video", (path,)), fps, stats)), stats


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".mov"])
def test_every_frame_comes_once_in_order_with_its_number_and_time(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"a{suffix}", 23, rate=10, codec="mpeg4" if suffix == ".avi" else "libx264")
    frames, stats = look(path)
    assert [frame.index for frame in frames] == list(range(23))
    assert [number_of(frame.pixels.rgb()) for frame in frames] == list(range(23))
    start = frames[0].time_s
    assert start is not None
    assert [frame.clock_s - start for frame in frames] == pytest.approx([n / 10 for n in range(23)], abs=1e-3)
    assert (stats.decoded, stats.sampled, stats.quarantine) == (23, 23, [])


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(200, 30, 40), (20, 160, 60), (40, 60, 190), (128, 128, 128)]
    path = write_clip(tmp_path / "a.mp4", [np.full((64, 64, 3), colour, np.uint8) for colour in colours], rate=5)
    frames, _ = look(path)
    for frame, colour in zip(frames, colours, strict=True):
        np.testing.assert_allclose(frame.pixels.rgb().mean(axis=(0, 1)), colour, atol=4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_frame_rate_keeps_its_times_and_is_sampled_by_them(tmp_path: Path, suffix: str) -> None:
    times_ms = [0, 30, 60, 90, 500, 530, 560, 1500, 1510, 1520, 1530, 2400, 2600, 2990]
    path = write_clip(tmp_path / f"a{suffix}", len(times_ms), times_ms=times_ms)
    frames, _ = look(path)
    assert [frame.time_s for frame in frames] == pytest.approx([t / 1000 for t in times_ms], abs=1e-3)
    frames, stats = look(path, fps=2)
    # One in each half second that has any, the first of it: 0, 0.5, (none in 1.0), 1.5, 2.0, 2.5.
    assert [number_of(frame.pixels.rgb()) for frame in frames] == [0, 4, 7, 11, 12]
    assert (stats.decoded, stats.sampled) == (14, 5)


@pytest.mark.parametrize(
    ("fps", "numbers"), [(10, range(20)), (5, range(0, 20, 2)), (2.5, range(0, 20, 4)), (99, range(20))]
)
def test_sampling_takes_the_frames_nearest_after_each_tick(tmp_path: Path, fps: float, numbers: range) -> None:
    frames, _ = look(write_clip(tmp_path / "a.mkv", 20, rate=10), fps)
    assert [number_of(frame.pixels.rgb()) for frame in frames] == list(numbers)
    assert [frame.index for frame in frames] == list(numbers)


def test_a_frame_that_is_not_sampled_is_never_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    convert = VideoPixels._convert
    monkeypatch.setattr(VideoPixels, "_convert", lambda self, *a: converted.append(1) or convert(self, *a))
    frames, stats = look(write_clip(tmp_path / "a.mp4", 20, rate=10), fps=1)
    assert (stats.decoded, len(frames), converted) == (20, 2, [])
    frames[0].pixels.grey()
    assert converted == [1]


def test_missing_times_are_filled_in_from_the_frame_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", 12, rate=10)  # a bare stream without any container
    with av.open(str(path)) as container:
        assert all(frame.pts is None for frame in container.decode(video=0))
        rate = float(container.streams.video[0].guessed_rate)
    frames, _ = look(path)
    assert [frame.time_s for frame in frames] == pytest.approx([n / rate for n in range(12)])


def test_a_clock_always_advances() -> None:
    clock = Clock(rate=10)
    times = [clock.advance(t) for t in (5.0, 5.2, None, 5.3, 1.0, 1.1, None, 9.0)]
    assert times == pytest.approx([5.0, 5.2, 5.3, 5.4, 5.5, 5.6, 5.7, 9.0])
    assert all(later > earlier for earlier, later in pairwise(times))
    assert clock.elapsed_s == pytest.approx(4.0)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_the_display_matrix_is_applied(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    path = write_clip(tmp_path / "a.mp4", 3, prepare=lambda s: s.set_display_rotation(degrees, hflip=mirrored))
    frames, _ = look(path)
    # Counter-clockwise, then mirrored left to right: what FFmpeg's documentation of the matrix says.
    upright = np.rot90(numbered(2), degrees // 90)
    upright = upright[:, ::-1] if mirrored else upright
    for pixels in (frames[2].pixels.rgb(), np.repeat(frames[2].pixels.grey()[..., None], 3, axis=2)):
        assert pixels.shape == upright.shape
        plain = np.rot90(pixels[:, ::-1] if mirrored else pixels, -(degrees // 90))
        assert number_of(plain) == 2
        assert np.abs(plain[:60].astype(int) - numbered(2)[:60]).mean() < 5


def test_width_means_the_upright_width(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 1, prepare=lambda s: s.set_display_rotation(90))
    pixels = look(path)[0][0].pixels
    assert pixels.rgb().shape == (128, 96, 3)
    assert pixels.rgb(48).shape == (64, 48, 3)
    assert pixels.grey(48).shape == (64, 48)
    assert pixels.grey(500).shape == (128, 96)


@pytest.mark.parametrize("matrix", [6, 1], ids=["bt601", "bt709"])
def test_grey_is_rec601_whatever_matrix_the_video_uses(tmp_path: Path, matrix: int) -> None:
    def tag(stream: av.VideoStream) -> None:
        stream.codec_context.colorspace = matrix

    blocks = np.kron(np.random.default_rng(0).integers(40, 215, (6, 8, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    pixels = look(write_clip(tmp_path / "a.mp4", [blocks], prepare=tag))[0][0].pixels
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).colorspace == matrix
    difference = pixels.grey().astype(int) - grey(pixels.rgb())
    assert abs(difference.mean()) < 0.5
    assert np.abs(difference).mean() < 1


def test_damaged_frames_are_quarantined_and_the_rest_is_read(tmp_path: Path) -> None:
    frames, stats = look(damage(write_clip(tmp_path / "a.mp4", 40), [12, 24], keep=0.3))
    damaged = [item for item, _ in stats.bad_frames]
    assert len(damaged) == stats.damaged == 2
    assert {frame.name for frame in frames}.isdisjoint(damaged)
    assert stats.decoded == len(frames) + 2 == 40
    assert frames[-1].index == number_of(frames[-1].pixels.rgb()) == 39
    assert "damaged" in stats.quarantine[0][1]


def test_packets_that_cannot_be_decoded_are_quarantined_and_the_rest_is_read(tmp_path: Path) -> None:
    frames, stats = look(damage(write_clip(tmp_path / "a.mp4", 40), [12, 24], keep=0.0))
    assert number_of(frames[-1].pixels.rgb()) == 39
    assert 36 <= len(frames) < 40
    assert stats.lost >= 1
    assert any(item == "a.mp4" and "cannot be decoded" in reason for item, reason in stats.quarantine)
    assert len(stats.quarantine) == stats.lost + stats.damaged


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_video_is_read_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    frames, stats = look(cut_off(write_clip(tmp_path / f"a{suffix}", 40, **options), 0.6))
    assert [number_of(frame.pixels.rgb()) for frame in frames] == list(range(len(frames)))
    assert 15 < len(frames) < 30
    (item, reason), torn = stats.quarantine[-2:]
    assert item == f"a{suffix}"
    assert "ends early" in reason
    assert "of 4.0 s" in reason
    assert torn == (f"drive_{len(frames):06d}", "the file is cut off, and this is the last frame before the end")
    assert len(frames) + stats.lost + stats.damaged == 40
    with pytest.raises(DataError, match=r"extract\.max_failures.*10% broken frames, found \d+ of 40"):
        stats.check(0.1)
    stats.check(0.7)


def test_a_whole_video_is_not_taken_for_a_truncated_one(tmp_path: Path) -> None:
    held = [0, 100, 200, 5000]  # variable rate, long pauses
    for name in ("a.mp4", "a.mkv", "a.ts"):
        assert look(write_clip(tmp_path / name, 4, times_ms=held))[1].quarantine == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_sound_that_outlasts_the_picture_is_no_truncation(tmp_path: Path, name: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        audio = container.add_stream("aac" if name != "a.mkv" else "flac", rate=8000, layout="mono")
        for number in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered(number), "rgb24")))
        container.mux(video.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 40_000), np.int16), "s16", "mono")
        silence.sample_rate, silence.pts = 8000, 0
        container.mux(audio.encode(silence))
        container.mux(audio.encode())
    frames, stats = look(tmp_path / name)
    assert len(frames) == 10
    assert stats.quarantine == []


def make_bad(folder: Path, kind: str) -> Path:
    path = folder / "a.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no video\n" * 100)
    elif kind == "subtitles":
        path.write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n\n2\n00:00:03,000 --> 00:00:04,000\nyou\n")
    elif kind == "picture":
        from PIL import Image

        Image.fromarray(numbered(1)).save(path, format="JPEG")
    elif kind == "headless":
        cut_off(write_clip(path, 20), 0.8)  # the index of a plain mp4 lies at its end
    elif kind == "no frames":
        write_clip(folder / "a.mkv", 5)
        path = cut_off(folder / "a.mkv", 0.05)
    elif kind == "playlist":
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    elif kind == "dangling":
        path.symlink_to(folder / "gone.mp4")
    return path


BAD = {
    "empty": "the file is empty",
    "text": "not a video that can be opened",
    "subtitles": "holds no video",
    "picture": "a picture under a video's name",
    "headless": "not a video that can be opened",
    "no frames": "no frame that can be decoded|not a video",
    "playlist": "not a video that can be opened",
    "dangling": "No such file",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_video_is_quarantined_with_the_reason(tmp_path: Path, kind: str) -> None:
    path = make_bad(tmp_path, kind)
    frames, stats = look(path)
    assert frames == []
    assert [item for item, _ in stats.bad_files] == [path.name]
    with pytest.raises(DataError, match=rf"{path.name}: expected a video.*({BAD[kind]})"):
        stats.check(0.1)


def test_a_video_of_absurd_size_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wildseg.frames.video.MAX_PIXELS", 100 * 100)
    frames, stats = look(write_clip(tmp_path / "a.mp4", 2))
    assert frames == []
    assert stats.bad_files == [("a.mp4", "it claims 128x96 pixels a frame")]


def test_the_expected_number_of_frames_is_that_of_the_headers(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 20, rate=10)
    write_clip(tmp_path / "b.mkv", 10, rate=10)
    (tmp_path / "c.mp4").touch()
    sources = find_sources(tmp_path)
    assert expected(sources, None) == 30
    for fps in (0.1, 2.0, 3.0, 4.0, 5.0, 10.0, 30.0):
        seen = [sample for source in sources[:2] for sample in read(source, fps, ReadStats())]
        assert expected(sources, fps) == len(seen), fps
    write_clip(tmp_path / "d.h264", 3)
    assert expected(find_sources(tmp_path), None) is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to see the memory in use")
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", [np.zeros((480, 640, 3), np.uint8)] * 120, codec="mpeg4")
    in_use = []
    for frame, _ in select(read(Source("drive", "video", (path,)), None, ReadStats()), threshold=-1):
        frame.pixels.rgb()
        in_use.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    # 80 frames are 37 MB as decoded, 74 MB as RGB.
    assert in_use[119] - in_use[39] < 12e6
