import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.frames import icc
from tests.frames.clips import flat, number_of, numbered, write_clip
from tests.frames.interlaced import write_interlaced
from tests.frames.light import patches, write_coded
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, ParamsError
from wildseg.core.files import load_json
from wildseg.core.tables import load_table
from wildseg.execution import result_store
from wildseg.execution.runtime import Runtime
from wildseg.frames.deinterlace import REMARK
from wildseg.frames.icc_profiles import ADOBE_GAMMA, matrix_profile
from wildseg.frames.params import Extract
from wildseg.frames.rgb_spaces import ADOBE_RGB, D65
from wildseg.stages import extract

LOOSE = {"absdiff": {"threshold": -1.0, "reference": "previous", "width": None}}


def run(artifacts: Artifacts, *, workers: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    values = {
        "source": "data/raw",
        "topic": None,
        "fps": None,
        "method": "absdiff",
        "options": LOOSE,
        "duplicate_bits": None,
        "min_sharpness": 0.0,
        "max_side": None,
        "val": 0.1,
        "test": 0.2,
        "stretch_s": None,
        "held_out": (),
        "max_failures": 0.1,
        "shard_above": None,
    }
    params: Any = SimpleNamespace(extract=Extract(**{**values, **changes}))
    extract.run(params, artifacts, Runtime(workers, "cpu"))
    return load_json(artifacts.metrics_path("extract.json"))


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    return Artifacts(tmp_path)


@pytest.fixture
def raw(project: Artifacts) -> Path:
    return project.data / "raw"


def files(artifacts: Artifacts) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in artifacts.frames_folder.iterdir()}


def test_videos_and_photos_become_frames_with_names_times_and_splits(
    project: Artifacts, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(raw / "north.mp4", 20, rate=10)
    write_clip(raw / "test drive.mkv", 6, rate=10)
    for n in range(10):
        Image.fromarray(numbered(100 + n)).save(raw / f"img_{n}.png")
    report = run(project, held_out=("test_drive", "elsewhere"))
    frames = project.load_frames()

    assert [frame.name for frame in frames if frame.source == "north"] == [f"north_{n:06d}" for n in range(20)]
    assert {frame.source for frame in frames} == {"raw", "north", "test_drive"}
    for frame in frames:
        assert number_of(project.load_image(frame.name)) == frame.index + (100 if frame.source == "raw" else 0)
        assert frame.time_s == (None if frame.source == "raw" else pytest.approx(frame.index / 10))
    splits = {source: [f.split for f in frames if f.source == source] for source in ("raw", "north", "test_drive")}
    assert splits["raw"] == ["train"] * 7 + ["val"] + ["test"] * 2
    assert splits["north"] == ["train"] * 14 + ["val"] * 2 + ["test"] * 4
    assert splits["test_drive"] == ["test"] * 6

    assert {key: report[key] for key in ("decoded", "sampled", "kept", "train", "val", "test", "quarantined")} == {
        "decoded": 36, "sampled": 36, "kept": 36, "train": 21, "val": 3, "test": 12, "quarantined": 0,
    }  # fmt: skip
    assert report["sources"] == {"raw": 10, "north": 20, "test_drive": 6}
    assert load_table(project.frames_folder / "quarantine.csv", ("item", "reason")) == []
    out = capsys.readouterr().out
    assert "held_out names elsewhere" in out
    assert out.splitlines()[-1].startswith("extract: 36 key frames (21 train, 3 val, 12 test)")


def test_held_out_names_that_no_source_has_are_no_mistake(
    project: Artifacts, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(raw / "mine.mp4", 10)
    run(project, held_out=("test_drive",))
    assert "held_out" not in capsys.readouterr().out
    assert {frame.split for frame in project.load_frames()} == {"train", "val", "test"}


def test_the_counts_of_what_was_dropped_add_up(project: Artifacts, raw: Path) -> None:
    # Ten pairs of equal frames; pictures 0 to 4 come twice in all; a flat, blurred frame after every fourth.
    order = [n for picture in [*range(5), *range(5)] for n in (picture, picture)]
    images = []
    for position, number in enumerate(order):
        images += [numbered(17 * number + 3)] + [flat(128, 96, 128)] * (position % 4 == 3)
    write_clip(raw / "a.mkv", images, rate=10, codec="ffv1")
    options = {"absdiff": {"threshold": 5.0, "reference": "last_kept", "width": None}}
    report = run(project, options=options, duplicate_bits=4, min_sharpness=50.0)
    assert (report["decoded"], report["sampled"]) == (25, 25)
    assert report["dropped_blurred"] == 5
    assert report["dropped_similar"] == 10
    assert report["dropped_duplicates"] == 5
    assert report["kept"] == 5
    assert report["score"]["min"] > 5
    assert len(files(project)) == 5 + 2


def test_sampling_and_shrinking(project: Artifacts, raw: Path) -> None:
    write_clip(raw / "a.mp4", 20, rate=10)
    report = run(project, fps=2.5, max_side=64)
    frames = project.load_frames()
    assert [frame.index for frame in frames] == [0, 4, 8, 12, 16]
    assert {project.load_image(frame.name).shape for frame in frames} == {(48, 64, 3)}
    assert (report["decoded"], report["sampled"]) == (20, 5)


@pytest.mark.parametrize("method", ["uniform", "adaptive"])
def test_the_other_methods_run_from_the_stage(project: Artifacts, raw: Path, method: str) -> None:
    write_clip(raw / "a.mp4", 20, rate=10)
    run(project, method=method, options={"uniform": {"every_s": 0.5}, "adaptive": {"every_s": 0.5}, **LOOSE})
    assert [frame.index for frame in project.load_frames()] == [0, 5, 10, 15]
    with pytest.raises(ParamsError, match=rf"extract\.options\.{method}\.every_s"):
        run(project, method=method, options={method: {"every_s": -1}})


def test_each_source_is_chosen_from_alone_but_duplicates_are_found_across(project: Artifacts, raw: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_clip(raw / name, [numbered(3)] * 5)
    options = {"absdiff": {"threshold": 20.0}}
    run(project, options=options)
    assert [frame.name for frame in project.load_frames()] == ["a_000000", "b_000000"]
    report = run(project, options=options, duplicate_bits=0)
    assert [frame.name for frame in project.load_frames()] == ["a_000000"]
    assert report["sources"] == {"a": 1, "b": 0}


def test_two_runs_give_the_same_bytes_and_leave_nothing_of_an_earlier_one(project: Artifacts, raw: Path) -> None:
    write_clip(raw / "a.mp4", 12)
    run(project)
    first, metrics = files(project), project.metrics_path("extract.json").read_bytes()
    run(project, fps=2)
    assert len(files(project)) < len(first)
    run(project)
    assert files(project) == first
    assert project.metrics_path("extract.json").read_bytes() == metrics


def test_bad_files_are_quarantined_and_the_run_goes_on(project: Artifacts, raw: Path) -> None:
    write_clip(raw / "good.mp4", 10)
    (raw / "bad.mp4").write_text("no video")
    for n in range(20):
        Image.fromarray(numbered(n)).save(raw / f"{n}.png")
    (raw / "3.png").write_bytes(b"")
    report = run(project, max_failures=0.1)
    assert load_table(project.frames_folder / "quarantine.csv", ("item", "reason")) == [
        {"item": "3.png", "reason": "the file is empty"},
        {
            "item": "bad.mp4",
            "reason": "it is not a video that can be opened (Invalid data found when processing input)",
        },
    ]
    assert report["quarantined"] == 2
    assert report["sources"] == {"raw": 19, "bad": 0, "good": 10}
    assert "raw_000003" not in {frame.name for frame in project.load_frames()}


def test_what_is_special_about_a_file_is_said_once_also_when_it_is_known(
    project: Artifacts, raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(result_store.VARIABLE, str(project.root / "cache"))
    for name in ("a.mts", "b.mts", "c.mts"):
        write_interlaced(raw / name, "libx264", "yuv420p", **{"x264-params": "tff=1"})
    write_coded(raw / "d.mkv", [patches()] * 3, "hlg", "ffv1", "yuv444p10le")
    write_clip(raw / "e.mp4", 3)
    said = []
    for _ in range(2):
        run(project)
        said.append(capsys.readouterr().out.splitlines())
        assert said[-1][:-1] == [
            f"extract: a.mts and 2 more: {REMARK}",
            "extract: d.mkv: HDR video (HLG), tone-mapped to sRGB with white at 203 nits",
        ]
    assert said[1][-1].endswith("5 of 5 sources from the cache")


def test_too_many_bad_files_fail_with_one_line_and_nothing_half_written(project: Artifacts, raw: Path) -> None:
    for n in range(4):
        Image.fromarray(numbered(n)).save(raw / f"{n}.png")
    (raw / "bad.png").write_text("no picture")
    message = r"extract\.max_failures: expected at most 10% broken files, found 1 of 5, first bad\.png \(it is not"
    with pytest.raises(DataError, match=message) as caught:
        run(project)
    assert "\n" not in str(caught.value)
    assert list(files(project)) == ["quarantine.csv"]
    assert not project.metrics_path("extract.json").exists()
    assert run(project, max_failures=0.2)["kept"] == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.touch(), r"mine\.mp4: expected a video.*the file is empty"),
        (lambda path: path.write_text("no video"), r"mine\.mp4: expected a video.*not a video"),
        (lambda path: None, r"data/raw/mine\.mp4: expected a video or a folder.*found nothing"),
        (lambda path: path.mkdir(), r"mine\.mp4: expected videos .*an empty folder"),
    ],
    ids=["empty", "text", "missing", "empty folder"],
)
def test_one_source_that_cannot_be_read_is_a_clear_error(project: Artifacts, make: Any, message: str) -> None:  # noqa: ANN401
    make(project.data / "raw" / "mine.mp4")
    with pytest.raises(DataError, match=message):
        run(project, source="data/raw/mine.mp4")


def test_nothing_kept_and_nothing_to_train_on_are_errors(project: Artifacts, raw: Path) -> None:
    write_clip(raw / "test_drive.mp4", 5)
    with pytest.raises(DataError, match=r"kept none: of 5 frames decoded 5 were looked at and 5 were blurred"):
        run(project, min_sharpness=1e9)
    with pytest.raises(DataError, match=r"all 5 are val or test; .*extract\.held_out"):
        run(project, held_out=("test drive",))
    assert list(files(project)) == ["quarantine.csv"]


def test_the_image_of_a_dark_and_a_bright_photo_is_what_was_read(project: Artifacts, raw: Path) -> None:
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(raw / "1.png")
    Image.fromarray(np.full((8, 8, 4), (10, 200, 90, 255), np.uint8)).save(raw / "2.png")
    run(project)
    np.testing.assert_allclose(project.load_image("raw_000000"), 156, atol=1)
    np.testing.assert_allclose(project.load_image("raw_000001").mean(axis=(0, 1)), (10, 200, 90), atol=2)


def exif(orientation: int) -> Image.Exif:
    """Return what a telephone writes: how it was held, and where."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags.get_ifd(0x8825)[1] = "N"
    tags[0x010E] = "51.4778N 0.0015W"
    return tags


JPEG_PHOTOS: dict[str, tuple[dict[str, Any], str, int | None]] = {
    "plain": ({"quality": 80}, "RGB", None),
    "upright": ({"quality": 80, "exif": exif(1)}, "RGB", None),
    "progressive": ({"quality": 60, "progressive": True}, "RGB", None),
    "sRGB": ({"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}, "RGB", None),
    "small enough": ({"quality": 80}, "RGB", 128),
    "turned": ({"quality": 80, "exif": exif(3)}, "RGB", None),
    "of another space": ({"icc_profile": matrix_profile(ADOBE_RGB, D65, ADOBE_GAMMA)}, "RGB", None),
    "shrunk": ({"quality": 80}, "RGB", 64),
    "grey": ({"quality": 80}, "L", None),
    "of inks": ({"quality": 80}, "CMYK", None),
}
KEPT_AS_THEY_ARE = ("plain", "upright", "progressive", "sRGB", "small enough")


@pytest.mark.parametrize("kind", JPEG_PHOTOS)
def test_a_jpeg_of_just_the_pixels_of_its_key_frame_is_not_encoded_again(
    project: Artifacts, raw: Path, kind: str
) -> None:
    options, mode, max_side = JPEG_PHOTOS[kind]
    for number in range(2):
        Image.fromarray(numbered(number)).convert(mode).save(raw / f"{number}.jpg", **options)
    run(project, max_side=max_side)
    for frame in project.load_frames():
        with Image.open(raw / f"{frame.index}.jpg") as photo, Image.open(project.frame_path(frame.name)) as key_frame:
            same = photo.size == key_frame.size and np.array_equal(photo.convert("RGB"), key_frame)
            assert key_frame.mode == "RGB"
            assert not key_frame.getexif()
        assert same == (kind in KEPT_AS_THEY_ARE)
        assert (photo.quantization == key_frame.quantization) == (kind in KEPT_AS_THEY_ARE)
        content = project.frame_bytes(frame.name)
        assert b"51.4778N" not in content
        assert b"ICC" not in content


def test_a_jpeg_with_something_behind_it_leaves_the_same_frame_as_without(project: Artifacts, raw: Path) -> None:
    Image.fromarray(numbered(1)).save(raw / "1.jpg", exif=exif(1))
    run(project)
    before = files(project)
    (raw / "1.jpg").write_bytes((raw / "1.jpg").read_bytes() + b"and a film" * 100)
    run(project)
    assert files(project) == before


def test_photos_of_one_colour_each_are_all_kept(project: Artifacts, raw: Path) -> None:
    for name, colour in (("a.png", (200, 40, 40)), ("b.jpg", (40, 180, 60)), ("c.bmp", (40, 60, 200)),
                         ("d.webp", (245, 245, 245)), ("e.png", (40, 60, 200))):  # fmt: skip
        Image.new("RGB", (64, 48), colour).save(raw / name)
    report = run(project, duplicate_bits=4, val=0.0, test=0.0)
    assert [frame.index for frame in project.load_frames()] == [0, 1, 2, 3]
    assert report["dropped_duplicates"] == 1


def test_colour_profiles_that_cannot_be_used_are_said_in_a_line_each_kind(
    project: Artifacts, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        profile = (b"no profile", b"no profile", b"no profile", icc.cmyk_profile(), None)[number]
        Image.fromarray(numbered(number)).save(raw / f"{number}.png", icc_profile=profile)
    report = run(project)
    assert (report["kept"], report["quarantined"]) == (5, 0)
    assert capsys.readouterr().out.splitlines()[:-1] == [
        "extract: 3 photos, the first 0.png: unusable colour profile (it cannot be read), taken as sRGB",
        "extract: 3.png: unusable colour profile (it is one for CMYK and the picture is RGB), taken as sRGB",
    ]


def test_the_stage_starts_without_torch_mlflow_and_scenedetect() -> None:
    heavy = {"torch", "torchvision", "mlflow", "open_clip", "transformers", "scipy", "scenedetect", "pandas"}
    code = f"import sys, wildseg.stages.extract; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
