"""Of bad media each is read right or quarantined with a reason: never a crash, a hang or a silent success."""

import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.frames import corpus
from tests.frames.clips import number_of, write_clip
from tests.stages.test_extract import run
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError
from wildseg.core.tables import load_table
from wildseg.execution import result_store
from wildseg.frames.read_stats import DecodeError, ReadStats
from wildseg.frames.reader import read
from wildseg.frames.sample import Sample
from wildseg.frames.sources import Source, find_sources

FRAMES = 8
FUZZ: Any = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


class Hang(BaseException):
    """Something is not done in time; no code that expects broken files may catch it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise a Hang in the body after that time; a timer that was running before runs on."""

    def stop(*_: object) -> None:
        raise Hang(f"still not done after {seconds} s")

    handler = signal.signal(signal.SIGALRM, stop)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left)


def look(path: Path) -> tuple[list[tuple[Sample, np.ndarray]], ReadStats]:
    stats = ReadStats()
    with time_limit(20):
        return [(sample, sample.pixels.rgb()) for sample in read(Source("v", "video", (path,)), None, stats)], stats


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    return Artifacts(tmp_path)


@pytest.fixture
def raw(project: Artifacts) -> Path:
    return project.data / "raw"


def quarantine(project: Artifacts) -> dict[str, str]:
    return {
        row["item"]: row["reason"] for row in load_table(project.frames_folder / "quarantine.csv", ("item", "reason"))
    }


# The whole corpus through the stage ------------------------------------------------------------------------------


def test_each_photo_is_read_right_or_quarantined_with_its_reason(project: Artifacts, raw: Path) -> None:
    good, bad = corpus.good_photos(), corpus.bad_photos()
    bad["mp4_called.jpg"] = (write_clip(project.root / "a.mp4", 3).read_bytes(), "not a picture")
    for name, (content, _) in {**good, **bad}.items():
        (raw / name).write_bytes(content)
    (source,) = find_sources(raw)
    with time_limit(60):
        report = run(project, max_failures=0.9, val=0.0, test=0.0)

    reasons = quarantine(project)
    assert set(reasons) == set(bad)
    for name, (_, pattern) in bad.items():
        assert re.search(pattern, reasons[name]), (name, reasons[name])
    frames = {frame.index: frame.name for frame in project.load_frames()}
    assert {source.paths[index].name for index in frames} == set(good)
    assert len(frames) + len(reasons) == len(source.paths) == report["kept"] + report["quarantined"]
    for index, frame in frames.items():
        expected, stored = good[source.paths[index].name][1], project.load_image(frame)
        assert stored.shape == expected.shape
        assert np.abs(stored.astype(int) - expected).mean() < 4, source.paths[index].name


def test_each_video_is_read_right_or_quarantined_with_its_reason(project: Artifacts, raw: Path) -> None:
    bad = corpus.bad_videos()
    good = {name: write(raw / name) for name, write in corpus.good_videos().items()}
    for name, (write, _) in bad.items():
        write(raw / name)
    with time_limit(60):
        run(project, max_failures=0.9, val=0.0, test=0.0)

    reasons = quarantine(project)
    assert set(reasons) == set(bad)
    for name, (_, pattern) in bad.items():
        assert re.search(pattern, reasons[name]), (name, reasons[name])
    frames = project.load_frames()
    names = {source.name: source.paths[0].name for source in find_sources(raw)}
    assert Counter(names[frame.source] for frame in frames) == {name: len(ns) for name, (ns, _) in good.items()}
    for source, name in names.items():
        own = [frame for frame in frames if frame.source == source]
        numbers, times_s = good.get(name, ([], []))
        assert [frame.index for frame in own] == list(range(len(numbers)))
        assert [number_of(project.load_image(frame.name)) for frame in own] == numbers
        clocks = [frame.time_s - (own[0].time_s or 0) for frame in own if frame.time_s is not None]
        assert clocks == pytest.approx(times_s, abs=0.11 if name == "two_sizes.ts" else 2e-3)


def test_what_claims_billions_of_pixels_is_refused_before_any_memory_is_taken(tmp_path: Path) -> None:
    for name, content in corpus.enormous().items():
        (tmp_path / name).write_bytes(content)
    code = """if True:
        import resource, sys
        from pathlib import Path
        from wildseg.frames.reader import expected, read
        from wildseg.frames.sources import find_sources
        from wildseg.frames.read_stats import ReadStats
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        def look(folder):
            stats, sources = ReadStats(), find_sources(Path(folder))
            expected(sources, 1)
            return sum(sample.pixels.rgb().size for source in sources for sample in read(source, None, stats)), stats
        look(sys.argv[1])
        before = peak()
        read_pixels, stats = look(sys.argv[2])
        print(read_pixels, len({item for item, _ in stats.bad_files}), peak() - before)
    """
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "a.png").write_bytes(corpus.encoded(corpus.PICTURE, "PNG"))
    write_clip(tmp_path / "small" / "a.mp4", 2)
    command = [sys.executable, "-c", code, str(tmp_path / "small"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    pixels, refused, grown_kib = map(int, done.stdout.split())
    assert (pixels, refused) == (0, 7)
    assert grown_kib < 32 * 1024 * (1 if sys.platform == "linux" else 1024)


# Random damage ---------------------------------------------------------------------------------------------------

KINDS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM", "GIF", "JPEG2000")


@functools.cache
def photo(kind: str) -> bytes:
    options = {"WEBP": {"lossless": True}, "JPEG": {"progressive": True}}.get(kind, {})
    return corpus.encoded(corpus.PICTURE, kind, **options)


def as_photo(path: Path, content: bytes) -> np.ndarray | None:
    """Return the pixels, or None for a photo that is refused with a reason of one line."""
    path.write_bytes(content)
    stats = ReadStats()
    with time_limit(20):
        images = [sample.pixels.rgb() for sample in read(Source("p", "photos", (path,)), None, stats)]
    assert len(images) + len(stats.bad_files) == stats.files == 1
    if not images:
        assert stats.bad_files[0][1]
        return None
    (image,) = images
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.size
    return image


@settings(max_examples=120, **FUZZ)
@given(kind=st.sampled_from(KINDS), share=st.floats(0, 1, exclude_max=True))
def test_a_photo_cut_anywhere_is_whole_or_refused(tmp_path: Path, kind: str, share: float) -> None:
    content = photo(kind)
    whole, rest = (
        as_photo(tmp_path / "whole", content),
        as_photo(tmp_path / "rest", content[: int(len(content) * share)]),
    )
    assert rest is None or np.array_equal(rest, whole)


@settings(max_examples=100, **FUZZ)
@given(kind=st.sampled_from(KINDS), bits=st.lists(st.integers(0, 2**20), min_size=1, max_size=8, unique=True))
def test_flipped_bits_in_a_photo_never_crash(tmp_path: Path, kind: str, bits: list[int]) -> None:
    as_photo(tmp_path / "a", corpus.flipped(photo(kind), bits))


def test_no_bit_that_flips_in_a_png_changes_the_picture_in_silence(tmp_path: Path) -> None:
    content = photo("PNG")
    refused = 0
    for bit in range(0, 8 * len(content), 7):
        image = as_photo(tmp_path / "a", corpus.flipped(content, [bit]))
        refused += image is None
        assert image is None or np.array_equal(image, corpus.PICTURE)
    assert refused > len(content)  # of one bit in seven, that is nearly all


CLIPS: dict[str, dict[str, Any]] = {
    "fast.mp4": {"movflags": "faststart"},
    "a.mkv": {},
    "a.avi": {"codec": "mpeg4"},
    "a.ts": {},
    "mjpeg.avi": {"codec": "mjpeg", "prepare": lambda stream: setattr(stream, "pix_fmt", "yuvj420p")},
    "a.gif": {"codec": "gif", "prepare": lambda stream: setattr(stream, "pix_fmt", "rgb8")},
}


@functools.cache
def clip(name: str) -> tuple[bytes, list[tuple[Sample, np.ndarray]]]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_clip(Path(folder) / name, FRAMES, **CLIPS[name])
        frames, stats = look(path)
        assert (len(frames), stats.quarantine) == (FRAMES, [])
        return path.read_bytes(), frames


@settings(max_examples=60, **FUZZ)
@given(name=st.sampled_from(sorted(CLIPS)), share=st.floats(0, 1, exclude_max=True))
def test_a_video_cut_anywhere_gives_its_first_frames_and_says_that_it_is_cut(
    tmp_path: Path, name: str, share: float
) -> None:
    content, whole = clip(name)
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    frames, stats = look(tmp_path / name)
    assert stats.quarantine
    assert frames or stats.bad_files or stats.damaged
    for (ours, image), (theirs, original) in zip(frames, whole, strict=False):
        assert (ours.index, ours.time_s) == (theirs.index, theirs.time_s)
        np.testing.assert_array_equal(image, original)


@settings(max_examples=60, **FUZZ)
@given(
    name=st.sampled_from(sorted(CLIPS)),
    bits=st.lists(st.integers(0, 2**20), min_size=1, max_size=6, unique=True),
    header=st.booleans(),
)
def test_flipped_bits_in_a_video_never_crash_and_all_is_accounted_for(
    tmp_path: Path, name: str, bits: list[int], header: bool
) -> None:
    content, _ = clip(name)
    end = 1000 if header else len(content)
    (tmp_path / name).write_bytes(corpus.flipped(content[:end], bits) + content[end:])
    frames, stats = look(tmp_path / name)
    assert frames or stats.quarantine
    assert stats.decoded == len(frames) + stats.damaged
    assert stats.files == 1
    indices = [sample.index for sample, _ in frames]
    assert indices == sorted(set(indices))
    times = [sample.clock_s for sample, _ in frames]
    assert times == sorted(set(times))
    assert all(reason and "\n" not in reason for _, reason in stats.quarantine)


def test_a_bit_that_flips_in_h264_changes_no_frame_in_silence(tmp_path: Path) -> None:
    content, whole = clip("fast.mp4")
    rng = np.random.default_rng(0)
    silent = 0
    for place in rng.integers(8 * 1500, 8 * len(content), 40):
        (tmp_path / "a.mp4").write_bytes(corpus.flipped(content, [int(place)]))
        frames, stats = look(tmp_path / "a.mp4")
        right = len(frames) == len(whole) and all(number_of(image) == n for n, (_, image) in enumerate(frames))
        silent += not right and not stats.quarantine
    assert silent <= 1  # a code without a checksum: now and then the flipped bit makes another valid frame


def test_a_damaged_video_gives_the_same_on_every_run(tmp_path: Path) -> None:
    content = write_clip(tmp_path / "whole.h264", FRAMES).read_bytes()
    for share in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9):
        (tmp_path / "a.h264").write_bytes(content[: int(share * len(content))])
        results = []
        for _ in range(4):
            frames, stats = look(tmp_path / "a.h264")
            results.append(([image.tobytes() for _, image in frames], stats.quarantine))
        assert results[0][1]
        assert all(result == results[0] for result in results)


def test_a_frame_that_turns_out_larger_than_the_header_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.good_videos()["two_sizes.ts"](tmp_path / "a.ts")
    monkeypatch.setattr("wildseg.frames.video.MAX_PIXELS", 150 * 100)
    frames, stats = look(tmp_path / "a.ts")
    assert [number_of(image) for _, image in frames] == [0, 1, 2, 3]
    assert all("cannot be decoded" in reason for _, reason in stats.quarantine)
    assert stats.lost == 4


# What stands in the folder ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [False, True], ids=["computed", "from the cache"])
def test_any_name_that_a_file_can_have_is_one_line_of_the_quarantine(
    project: Artifacts, raw: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {
        b'a, "b".jpg': 'a, "b".jpg',
        b"line\nbreak.jpg": r"line\nbreak.jpg",
        b"carriage\rreturn.png": r"carriage\rreturn.png",
        "日本 é.mp4".encode(): "日本 é.mp4",
        b"no \xff text.jpg": r"no \udcff text.jpg",
        b"=1+1.webp": "=1+1.webp",
        b"%03d.mp4": "%03d.mp4",
    }
    for name in names:
        (raw / os.fsdecode(name)).touch()
    write_clip(raw / "good.mkv", 4)
    if kept:
        monkeypatch.delenv(result_store.VARIABLE)
        run(project, max_failures=0.9, val=0.0, test=0.0)
    run(project, max_failures=0.9, val=0.0, test=0.0)
    assert quarantine(project) == dict.fromkeys(names.values(), "the file is empty")
    assert len((project.frames_folder / "quarantine.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(names)
    with pytest.raises(DataError, match="found 7 of 8") as caught:
        run(project)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize("stem", ["x" * 250, "日" * 83, os.fsdecode(b"\xff\xfe"), "a\nb", "%04d"])
def test_a_video_of_any_name_gives_frames(project: Artifacts, raw: Path, stem: str) -> None:
    write_clip(raw / "a.mkv", 3).rename(raw / f"{stem}.mkv")
    assert run(project)["kept"] == 3
    assert [number_of(project.load_image(frame.name)) for frame in project.load_frames()] == [0, 1, 2]


def test_links_are_followed_and_what_is_no_file_is_passed_over(
    project: Artifacts, raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(result_store.VARIABLE)  # whose keys are made of what the files hold, and a pipe never ends
    outside = project.root / "outside.png"
    outside.write_bytes(corpus.encoded(corpus.PICTURE, "PNG"))
    (raw / "1.png").symlink_to(outside)
    (raw / "2.png").write_bytes(outside.read_bytes())
    (raw / "dangling.png").symlink_to(raw / "gone.png")
    (raw / "loop.png").symlink_to(raw / "loop.png")
    os.mkfifo(raw / "pipe.png")
    os.mkfifo(raw / "pipe.mp4")
    (raw / "device.mp4").symlink_to("/dev/zero")
    (raw / ".hidden.png").write_text("no picture")
    (raw / "._1.png").write_text("what a Mac leaves")
    (raw / "folder.jpg").mkdir()
    (raw / "IMG_1.heic").touch()
    (raw / "2.png.dvc").touch()
    with time_limit(30):
        report = run(project, max_failures=0.9, val=0.0, test=0.0)
    assert report["kept"] == 2
    for frame in project.load_frames():
        assert np.abs(project.load_image(frame.name).astype(int) - corpus.PICTURE).mean() < 4
    assert set(quarantine(project)) == {"dangling.png", "loop.png", "pipe.png", "pipe.mp4", "device.mp4"}
    assert not any(str(project.root) in reason for reason in quarantine(project).values())
    assert "passed over 2 that are no source by their name, such as 'IMG_1.heic'" in capsys.readouterr().out


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the rights of root, whom no file mode stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read_is_quarantined() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to anybody but its owner
        folder = Path(name)
        folder.chmod(0o755)
        for path in (folder / "a.png", folder / "b.png"):
            path.write_bytes(corpus.encoded(corpus.PICTURE, "PNG"))
        write_clip(folder / "a.mp4", 2).chmod(0o000)
        (folder / "a.png").chmod(0o000)
        stats = ReadStats()
        with as_nobody():
            frames = [sample for source in find_sources(folder) for sample in read(source, None, stats)]
    assert [frame.index for frame in frames] == [1]
    assert [item for item, _ in stats.quarantine] == ["a.png", "a.mp4"]
    assert all("Permission denied" in reason for _, reason in stats.quarantine)


# The budget ------------------------------------------------------------------------------------------------------


@settings(max_examples=200, **FUZZ)
@given(bad=st.integers(0, 100), good=st.integers(0, 100), percent=st.integers(0, 100))
def test_the_run_fails_above_the_share_of_failures_and_never_at_it(bad: int, good: int, percent: int) -> None:
    stats = ReadStats(files=bad + good)
    for n in range(bad):
        stats.add_bad_file(f"{n}.png", DecodeError("it is broken"))
    if bad and Fraction(bad, bad + good) > Fraction(percent, 100):
        with pytest.raises(DataError) as caught:
            stats.check(percent / 100)
        assert "\n" not in str(caught.value)
    else:
        stats.check(percent / 100)


def test_below_the_budget_the_stage_says_how_many_and_above_it_fails_in_one_line(
    project: Artifacts, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(9):
        (raw / f"{n}.png").write_bytes(corpus.encoded(np.roll(corpus.PICTURE, n, axis=1), "PNG"))
    (raw / "bad_1.png").touch()
    run(project, max_failures=0.1)
    assert capsys.readouterr().out.splitlines()[-1].endswith("; 1 quarantined")
    (raw / "bad_2.png").touch()
    with pytest.raises(DataError, match=r"^extract\.max_failures: expected at most 12\.5% broken files, found 2 of 11"):
        run(project, max_failures=0.125)
    assert set(quarantine(project)) == {"bad_1.png", "bad_2.png"}
