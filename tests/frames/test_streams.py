from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.frames.clips import number_of, numbered, write_clip
from tests.frames.test_video import look
from wildseg.frames.streams import main_video

Video = tuple[int, int, Disposition]  # first number shown, enlargement, disposition


def write_streams(path: Path, *videos: Video, codec: str = "libx264") -> Path:
    """Write a file of several videos of three numbered frames each."""
    with av.open(str(path), "w") as container:
        streams = []
        for _, times, disposition in videos:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 128 * times, 96 * times, "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for number in range(3):
            for stream, (first, times, _) in zip(streams, videos, strict=True):
                image = np.kron(numbered(first + number), np.ones((times, times, 1))).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    return path


DEFAULT, NONE = Disposition.default, Disposition(0)


@pytest.mark.parametrize(
    ("name", "videos", "read"),
    [
        ("small_default.mkv", [(10, 1, DEFAULT), (20, 2, NONE)], 0),
        ("large_default.mkv", [(10, 1, NONE), (20, 2, DEFAULT)], 1),
        ("both_default.mkv", [(10, 1, DEFAULT), (20, 2, DEFAULT)], 1),
        ("none_default.mkv", [(10, 2, NONE), (20, 1, NONE)], 0),
        ("three.mp4", [(10, 1, DEFAULT), (20, 3, DEFAULT), (30, 2, DEFAULT)], 1),
        ("broadcast.ts", [(10, 1, NONE), (20, 2, NONE)], 1),
    ],
)
def test_of_several_videos_one_is_read_and_all_are_named_with_how_to_choose(
    tmp_path: Path, name: str, videos: list[Video], read: int
) -> None:
    frames, stats = look(write_streams(tmp_path / name, *videos))
    assert [number_of(frame.pixels.rgb()) for frame in frames] == [videos[read][0] + n for n in range(3)]
    [(item, text)] = stats.notes
    assert item == name
    sizes = [f"{128 * times}x{96 * times}, h264, 10 fps" for _, times, _ in videos]
    assert text.startswith(f"of {len(videos)} video streams, stream {read} ({sizes[read]}) is read")
    assert all(f"stream {number} ({size})" in text for number, size in enumerate(sizes))
    other = 0 if read else 1
    copied = f"{Path(name).stem}_{other}{Path(name).suffix}"
    assert text.endswith(f"ffmpeg -i {name} -map 0:{other} -c copy {copied}")


def test_the_command_for_another_stream_is_one_that_a_shell_understands(tmp_path: Path) -> None:
    _, stats = look(write_streams(tmp_path / "a b's $x.mkv", (10, 1, NONE), (20, 2, NONE)))
    assert stats.notes[0][1].endswith("""ffmpeg -i 'a b'"'"'s $x.mkv' -map 0:0 -c copy 'a b'"'"'s $x_0.mkv'""")


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
def test_a_cover_is_no_video_however_large(tmp_path: Path, codec: str) -> None:
    path, pixel_format = tmp_path / "a.mp4", "rgb24" if codec == "png" else "yuvj420p"
    with av.open(str(path), "w") as container:
        cover = container.add_stream(codec, rate=10)
        cover.width, cover.height, cover.pix_fmt = 512, 384, pixel_format
        cover.disposition = Disposition.attached_pic
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((384, 512, 3), np.uint8), "rgb24").reformat(format=pixel_format)
        picture.pts = 0
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
        for number in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(numbered(number), "rgb24")))
        container.mux(video.encode())
    with av.open(str(path)) as container:
        assert Disposition.attached_pic in [stream.disposition for stream in container.streams.video]
        chosen = main_video(container)
        assert chosen is not None
        assert chosen.codec_context.name == "h264"
    frames, stats = look(path)
    assert [number_of(frame.pixels.rgb()) for frame in frames] == [0, 1, 2]
    assert stats.notes == []


def test_one_video_says_nothing(tmp_path: Path) -> None:
    assert look(write_clip(tmp_path / "a.mp4", 3))[1].notes == []
