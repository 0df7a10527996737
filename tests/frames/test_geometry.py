import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.frames.clips import write_clip
from tests.frames.interlaced import write_interlaced
from tests.frames.test_video import look
from wildseg.frames.geometry import square_size, stretch
from wildseg.frames.read_stats import MAX_PIXELS


def disc(width: int, height: int, ratio: Fraction) -> np.ndarray:
    """Return (height, width, 3): a bright disc, as stored in pixels that are `ratio` times as wide as high."""
    y, x = np.mgrid[:height, :width]
    across, down = (x + 0.5 - width / 2) * float(ratio), y + 0.5 - height / 2
    radius = 0.35 * min(width * float(ratio), height)
    return np.where((across**2 + down**2 < radius**2)[..., None], (220, 200, 40), (40, 60, 90)).astype(np.uint8)


def extent(image: np.ndarray) -> tuple[int, int]:
    """Return the width and height of the disc."""
    rows, columns = np.nonzero(image[..., 0] > 130)
    return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


CASES = [  # file, codec, stored size, ratio, shown size
    ("pal_wide.mp4", "libx264", (704, 576), (16, 11), (1024, 576)),
    ("ntsc.mkv", "libx264", (720, 480), (8, 9), (720, 540)),
    ("ntsc_wide.ts", "mpeg2video", (720, 480), (32, 27), (853, 480)),
    ("hdv.mts", "libx264", (1440, 1080), (4, 3), (1920, 1080)),
    ("container_alone.mov", "prores_ks", (360, 288), (64, 45), (512, 288)),
    ("half.avi", "mpeg4", (320, 120), (1, 2), (320, 240)),
]


@pytest.mark.parametrize(("name", "codec", "stored", "ratio", "shown"), CASES, ids=[case[0] for case in CASES])
def test_anamorphic_video_is_shown_in_square_pixels(
    tmp_path: Path, name: str, codec: str, stored: tuple[int, int], ratio: tuple[int, int], shown: tuple[int, int]
) -> None:
    sar = Fraction(*ratio)

    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = sar
        if codec == "prores_ks":
            stream.pix_fmt = "yuv422p10le"

    frames, stats = look(write_clip(tmp_path / name, [disc(*stored, sar)] * 2, rate=25, codec=codec, prepare=prepare))
    picture = frames[0].pixels.rgb()
    assert picture.shape[1::-1] == shown
    width, height = extent(picture)
    assert abs(width - height) <= 3
    assert frames[0].pixels.grey().shape == picture.shape[:2]
    assert frames[0].pixels.rgb(100).shape[:2] == (round(shown[1] * 100 / shown[0]), 100)
    assert [text for _, text in stats.notes] == [
        f"anamorphic video with pixels of {ratio[0]}:{ratio[1]}, shown square: "
        f"{stored[0]}x{stored[1]} as {shown[0]}x{shown[1]}"
    ]


def test_a_turned_anamorphic_video_is_made_square_before_it_is_turned(tmp_path: Path) -> None:
    sar = Fraction(16, 11)

    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = sar
        stream.set_display_rotation(90)

    [frame, _], _ = look(write_clip(tmp_path / "a.mp4", [disc(352, 288, sar)] * 2, prepare=prepare))
    assert frame.pixels.rgb().shape == (512, 288, 3)
    assert np.ptp(extent(frame.pixels.rgb())) <= 2


def test_a_ratio_that_changes_within_a_file_is_followed(tmp_path: Path) -> None:
    content = b""
    for sar in (Fraction(16, 11), Fraction(12, 11)):

        def prepare(stream: av.VideoStream, sar: Fraction = sar) -> None:
            stream.codec_context.sample_aspect_ratio = sar
            stream.codec_context.max_b_frames = 0

        content += write_clip(tmp_path / ".part.ts", [disc(176, 144, sar)] * 4, prepare=prepare).read_bytes()
    (tmp_path / "a.ts").write_bytes(content)
    frames, _ = look(tmp_path / "a.ts")
    assert [frame.pixels.rgb().shape[1] for frame in frames] == [256] * 4 + [192] * 4


@pytest.mark.parametrize("pair", [(1, 1000), (1000, 1), (5, 1)])
def test_a_ratio_that_no_camera_has_is_named_and_taken_as_square(tmp_path: Path, pair: tuple[int, int]) -> None:
    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        stream.pix_fmt = "yuv422p10le"

    path = write_clip(tmp_path / "a.mov", [disc(96, 96, Fraction(1))] * 2, codec="prores_ks", prepare=prepare)
    content = path.read_bytes()
    assert content.count(b"pasp") == 1
    path.write_bytes(content.replace(b"pasp" + struct.pack(">II", 16, 11), b"pasp" + struct.pack(">II", *pair)))
    frames, stats = look(path)
    assert frames[0].pixels.rgb().shape == (96, 96, 3)
    assert [text for _, text in stats.notes] == [
        f"its pixels cannot be {pair[0]}:{pair[1]} in width to height; they are taken as square"
    ]


def test_sizes_in_square_pixels() -> None:
    assert square_size(704, 576, Fraction(16, 11)) == (1024, 576)
    assert square_size(720, 480, Fraction(8, 9)) == (720, 540)
    assert stretch(None, 720, 480) == 1
    assert stretch(Fraction(1001, 1000), 720, 480) == 1  # from rounding
    assert stretch(Fraction(135, 136), 1920, 1080) == 1
    assert stretch(Fraction(40, 33), 720, 480) == Fraction(40, 33)
    assert stretch(Fraction(4), MAX_PIXELS // 100, 50) == 1  # would be larger than a picture may be


@pytest.mark.parametrize(
    ("name", "codec", "interlaced", "options"),
    [
        ("a.ts", "mpeg2video", True, {"flags": "+ildct+ilme", "bf": "2"}),
        ("a.mpg", "mpeg2video", False, {"bf": "2"}),
        ("a.ts", "libx264", True, {"x264-params": "tff=1:bframes=2"}),
        ("a.h264", "libx264", False, {"x264-params": "bframes=3"}),
    ],
)
def test_pixels_change_their_shape_with_the_frame_also_where_the_decoder_is_ahead(
    tmp_path: Path, name: str, codec: str, interlaced: bool, options: dict[str, str]
) -> None:
    content, widths = b"", []
    for ratio in ((16, 15), (64, 45), (16, 15)):  # a broadcast: 4:3, then 16:9, and back
        whole = frozenset[int]() if interlaced else frozenset(range(6))
        part = write_interlaced(
            tmp_path / f".{name}", codec, "yuv420p", progressive=whole, ratio=Fraction(*ratio), **options
        )
        with av.open(str(part)) as container:
            widths += [round(352 * (container.streams.video[0].sample_aspect_ratio or 0))] * 6
        content += part.read_bytes()
    (tmp_path / name).write_bytes(content)
    frames, stats = look(tmp_path / name)
    assert [frame.pixels.rgb().shape[1] for frame in frames] == widths
    assert len(set(widths)) == 2
    assert stats.quarantine == []
