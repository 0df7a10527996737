"""What is missing or wrong in the middle of a video is quarantined, and sound videos of any kind are not."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest

from tests.frames.clips import number_of, numbered, write_clip
from tests.frames.damages import DAMAGES, FRAMES, noisy
from wildseg.frames.ffmpeg_log import CapturedErrors
from wildseg.frames.frame_copy import FrameCopier
from wildseg.frames.gaps import Gap, Timeline
from wildseg.frames.gif_blocks import broken_blocks
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.reader import read
from wildseg.frames.sample import Sample
from wildseg.frames.sources import Source


def look(path: Path) -> tuple[list[Sample], ReadStats]:
    stats = ReadStats()
    return list(read(Source("v", "video", (path,)), None, stats)), stats


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_what_is_missing_or_wrong_in_the_middle_is_said(tmp_path: Path, name: str) -> None:
    write, pattern, missing = DAMAGES[name]
    write(tmp_path / name)
    frames, stats = look(tmp_path / name)
    assert any(re.search(pattern, reason) for _, reason in stats.quarantine), stats.quarantine
    # A damaged GIF may end at any place; of all others each frame is here, or known to be lost or damaged.
    assert name.endswith("gif") or len(frames) + stats.lost + stats.damaged == FRAMES
    assert missing is None or stats.lost == missing


# Healthy ---------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
PACES: dict[str, list[int]] = {
    "a camera that skips frames": [n * 33 for n in range(120) if n == 0 or RNG.random() > 0.08],
    "a phone": [0, *accumulate(int(step) for step in RNG.choice([30, 33, 33, 33, 34, 50], 90))],
    "a screen": [0, *accumulate(int(step) for step in RNG.choice([17, 17, 33, 50, 1000, 3350], 60))],
    "a pause": [n * 40 + 3000 * (n > 30) for n in range(60)],
    "less light": [n * 33 for n in range(40)] + [1320 + n * 67 for n in range(30)],
    "duplicates left out": [n * 40 for n in range(150) if not (20 < n < 31 or 60 < n < 90 or n in (100, 120, 121))],
    "a time lapse": [n * 1000 for n in range(20)],
    "a short clip of a camera that skips frames": [n * 40 for n in range(60) if n not in (13, 31, 48)],
}
KINDS = {"mp4": "libx264", "mkv": "libx264", "webm": "libvpx", "ts": "libx264", "wmv": "wmv2", "flv": "flv"}


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("pace", PACES)
def test_a_healthy_video_of_variable_rate_has_no_row(tmp_path: Path, pace: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_clip(path, [numbered(n % 256)[:48, :64] for n in range(len(PACES[pace]))], rate=25, times_ms=PACES[pace],
               codec=KINDS[suffix])  # fmt: skip
    frames, stats = look(path)
    assert (stats.quarantine, len(frames)) == ([], len(PACES[pace]))


@pytest.mark.parametrize("later_ms", [0, 500_000], ids=["clocks start anew", "the second is later"])
def test_joined_recordings_are_no_damage(tmp_path: Path, later_ms: int) -> None:
    first = write_clip(tmp_path / "1.ts", 20, times_ms=[n * 40 for n in range(20)])
    second = write_clip(tmp_path / "2.ts", 30, times_ms=[later_ms + n * 40 for n in range(30)])
    (tmp_path / "a.ts").write_bytes(first.read_bytes() + second.read_bytes())
    frames, stats = look(tmp_path / "a.ts")
    assert (stats.quarantine, len(frames)) == ([], 50)


@pytest.mark.parametrize("lasts_s", [2, 5, 9])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_last_frame_lasts_as_long_as_it_says_and_not_by_the_rate(tmp_path: Path, suffix: str, lasts_s: int) -> None:
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(numbered(n), "rgb24") for n in range(10)]
        packets = [packet for frame in [*frames, None] for packet in stream.encode(frame)]
        packets[-1].duration = round(lasts_s / stream.codec_context.time_base)
        for packet in packets:
            container.mux(packet)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(0.9 + lasts_s, abs=0.01)
    assert look(path)[1].quarantine == []


# The same on every run -------------------------------------------------------------------------------------------


def digests(path: Path, held: int) -> tuple[list[tuple[int, str]], list[tuple[str, str]]]:
    """Return the digest of each frame, converted when `held` later ones were asked for, and the rows."""
    stats, waiting, seen = ReadStats(), deque[Sample](), []

    def take(sample: Sample) -> None:
        seen.append((sample.index, hashlib.sha256(sample.pixels.rgb().tobytes()).hexdigest()))

    for number, sample in enumerate(read(Source("v", "video", (path,)), None, stats)):
        waiting.append(sample)
        if len(waiting) > held:
            take(waiting.popleft())
        if held and number % 7 == 0:
            time.sleep(0.002)
    for sample in waiting:
        take(sample)
    return seen, stats.quarantine


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.ts", "mpeg2video"), ("a.mkv", "mpeg2video"), ("a.mkv", "libx264"), ("a.mp4", "libx264"), ("a.mkv", "ffv1"),
     ("a.avi", "mpeg4"), ("b.avi", "mjpeg")],
)  # fmt: skip
def test_a_damaged_video_gives_the_same_pixels_however_long_frames_are_held(
    tmp_path: Path, name: str, codec: str
) -> None:
    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.gop_size = 30
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"

    path = write_clip(tmp_path / name, FRAMES, codec=codec, prepare=prepare)
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(len(content) // 10, len(content) * 9 // 10, 25):
        content[place] ^= 1 << int(place) % 8
    path.write_bytes(content)
    first = digests(path, 0)
    assert first[1]
    assert [digests(path, held) for held in (1, 2, 5, 12)] == [first] * 4


def test_frames_that_are_looked_at_are_copied_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mkv", 20)
    copied = []
    copy = FrameCopier.copy
    monkeypatch.setattr(FrameCopier, "copy", lambda self, frame: copied.append(frame.pts) or copy(self, frame))
    frames = list(read(Source("v", "video", (path,)), 2, ReadStats()))
    assert [frame.index for frame in frames] == [0, 5, 10, 15]
    assert copied == [0, *(100 * frame.index for frame in frames)]  # the first also to see how it is turned


def test_a_copy_keeps_its_pixels_and_all_that_is_known_of_the_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 12, prepare=lambda stream: stream.set_display_rotation(90))
    copier = FrameCopier()
    with av.open(str(path)) as container:
        copies = []
        for frame in container.decode(video=0):
            copy = copier.copy(frame)
            for name in ("pts", "time", "duration", "rotation", "colorspace", "color_range", "color_trc", "format"):
                assert str(getattr(copy, name)) == str(getattr(frame, name)), name
            copies.append(copy)
    assert [number_of(copy.to_ndarray(format="rgb24")) for copy in copies] == list(range(12))


# Its parts -------------------------------------------------------------------------------------------------------


def timeline(times_s: list[float], duration_s: float = 0.0) -> Timeline:
    result = Timeline()
    for time_s in times_s:
        result.add(time_s, None, duration_s)
    return result


def test_a_gap_has_as_many_frames_as_there_is_room_for() -> None:
    times = [n / 25 for n in range(50) if n not in (20, 21, 22, 40)]
    gaps = timeline(times).gaps(0.001, indexed=False)
    assert [gap.frames for gap in gaps] == [3, 1]
    assert gaps[0][:2] == pytest.approx((19 / 25, 23 / 25))
    assert timeline(times).gaps(0.001, indexed=True) == []


def test_a_pause_is_a_gap_where_the_container_is_broken_and_only_there() -> None:
    times = [n / 25 for n in range(30)] + [5 + n / 25 for n in range(30)] + [12 + n / 25 for n in range(30)]
    assert timeline(times).gaps(0.001, indexed=False) == []
    broken = timeline(times)
    broken.broken.append(60)
    assert broken.gaps(0.001, indexed=False) == [Gap(pytest.approx(6.16), 12.0, 145)]


def test_a_frame_that_lasts_until_the_next_leaves_no_gap() -> None:
    result = Timeline()
    for n in range(40):
        result.add(n / 25 + (n > 20) * 0.16, None, 0.2 if n == 20 else 0.04)
    assert result.gaps(0.001, indexed=False) == []


def test_the_same_error_of_two_frames_is_heard_twice_and_the_level_is_as_before(tmp_path: Path) -> None:
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    heard = []
    for _ in range(2):
        with CapturedErrors() as said:
            av.logging.log(av.logging.ERROR, "h264", "error while\n decoding MB 1 2")
            av.logging.log(av.logging.WARNING, "h264", "only a warning")
        heard.append(said.errors)
    assert heard == [[("h264", "error while decoding MB 1 2")]] * 2
    assert said.of("h264")
    assert not said.of("avi")
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "mpeg4"])
def test_the_frame_that_a_message_is_about_is_left_out_also_where_frames_are_stored_out_of_order(
    tmp_path: Path, codec: str
) -> None:
    def with_b_frames(stream: av.VideoStream) -> None:
        stream.codec_context.options = (
            {"x264-params": "bframes=2:b-adapt=0:scenecut=0:keyint=20"} if codec == "libx264" else {"bf": "2"}
        )

    path = write_clip(tmp_path / "a.mkv", FRAMES, codec=codec, prepare=with_b_frames)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    times = sorted(packet.pts for packet in packets)
    hurt = next(n for n, packet in enumerate(packets) if n > 15 and times.index(packet.pts) > n)
    noisy(path, [hurt])
    frames, stats = look(path)
    shown = times.index(packets[hurt].pts)
    (reason,) = [reason for item, reason in stats.quarantine if item == f"v_{shown:06d}"]
    assert reason.startswith("the decoder found the frame damaged (")
    assert shown not in [frame.index for frame in frames]


def test_blocks_of_a_gif_are_followed_to_its_end(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.gif", 9, codec="gif", prepare=lambda s: setattr(s, "pix_fmt", "rgb8"))
    assert broken_blocks(path) is None
    content = path.read_bytes()
    third = [match.start() for match in re.finditer(b"!\xf9\x04", content)][2]
    path.write_bytes(content[:third] + b"?" + content[third + 1 :])
    assert broken_blocks(path) == (third, 8)
    path.write_bytes(b"no GIF")
    assert broken_blocks(path) is None
