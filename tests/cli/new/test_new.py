"""`wildseg new`: a video and words become a project, in this clone or in one of its own; and how long it will take."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import chdir
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from wildseg.cli.main import main
from wildseg.cli.new import estimate, media, words
from wildseg.cli.new.estimate import Range
from wildseg.core.errors import DataError, ParamsError
from wildseg.execution import params

ROOT = Path(__file__).parents[3]


def video(path: Path, frames: int = 20, size: tuple[int, int] = (64, 48)) -> Path:
    """Write a video of 10 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height = size
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `new` needs of a clone, as a repository with a commit, and not yet one of DVC."""
    root = tmp_path / "clone"
    (root / "src/wildseg").mkdir(parents=True)
    (root / "src/wildseg/code.py").write_text("")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, root)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def new(root: Path, *arguments: str, code: int = 0) -> str:
    with chdir(root):
        answer = CliRunner().invoke(main, ["new", *arguments])
    assert answer.exit_code == code, answer.output
    return answer.output


# The project ---------------------------------------------------------------------------------------------------------


def test_a_video_becomes_a_project_of_the_clone_and_a_second_call_changes_nothing(clone: Path, tmp_path: Path) -> None:
    source = video(tmp_path / "My trip #1.MP4.mp4")
    output = new(clone, str(source), "--classes", "mud, tall grass, track=dirt track/gravel")
    place = "data/raw/My_trip_1_MP4.mp4"
    assert (clone / place).read_bytes() == source.read_bytes()
    tracked = yaml.safe_load((clone / f"{place}.dvc").read_text())
    assert tracked["outs"][0]["path"] == Path(place).name
    values = params.load(clone / "params.yaml")
    assert values.classes.names == ("mud", "tall_grass", "track")
    assert values.classes.phrases == (("mud",), ("tall grass",), ("dirt track", "gravel"))
    assert values.extract.source == place
    assert values.extract.held_out == ()
    assert values.clip.pretrained == "openai"  # of the preset
    assert "# Every parameter that changes a result." in (clone / "params.yaml").read_text()
    assert "2 s, 64x48, 10 frames a second, tracked by DVC" in output
    ignored = subprocess.run(["git", "check-ignore", "-q", place], cwd=clone, check=False)
    assert ignored.returncode == 0  # the video is DVC's alone
    command = next(line for line in output.splitlines() if "git add" in line).split("&&")[0].split()
    subprocess.run(command, cwd=clone, check=True)  # the printed command names what exists
    before = {path: path.read_bytes() for path in clone.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert "as it was" in new(clone, str(source), "--classes", "mud, tall grass, track=dirt track/gravel")
    assert all(path.read_bytes() == content for path, content in before.items() if ".dvc/tmp" not in str(path))


def test_a_folder_of_its_own_is_a_clone(clone: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30)).save(photos / f"{number}.png")
    output = new(clone, str(photos), "--classes", "mud", "--into", str(tmp_path / "field"), "--embedded")
    field = tmp_path / "field"
    assert (field / "src/wildseg/code.py").is_file()
    assert sorted(path.name for path in (field / "data/raw/photos").iterdir()) == ["0.png", "1.png", "2.png"]
    assert (field / "data/raw/photos.dvc").is_file()
    values = params.load(field / "params.yaml")
    assert (values.classes.names, values.extract.source) == (("mud",), "data/raw/photos")
    assert values.clip.model == "wildseg-tiny"
    assert "3 photos, the first of 40x30" in output
    assert f"cd {field}" in output
    assert yaml.safe_load((clone / "params.yaml").read_text())["classes"] != {"mud": ["mud"]}


def test_a_second_call_leaves_what_was_edited_in_a_folder_of_its_own(clone: Path, tmp_path: Path) -> None:
    source, field = video(tmp_path / "a.mp4"), tmp_path / "field"
    new(clone, str(source), "--classes", "mud", "--into", str(field), "--embedded")
    path = field / "params.yaml"
    path.write_text(path.read_text().replace("\nseed: 0", "\nseed: 7") + "# mine\n")
    new(clone, str(source), "--classes", "mud, grass", "--into", str(field), "--embedded")
    values = params.load(path)
    assert (values.seed, values.classes.names) == (7, ("mud", "grass"))
    assert path.read_text().endswith("# mine\n")


def test_a_call_that_was_stopped_while_it_copied_starts_from_the_parameters_of_the_first(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, field = video(tmp_path / "a.mp4"), tmp_path / "field"
    template = clone / "params.yaml"
    template.write_text(template.read_text() + "# not committed\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copy2", full)
        new(clone, str(source), "--classes", "mud", "--into", str(field), "--embedded", code=1)
    new(clone, str(source), "--classes", "mud", "--into", str(field), "--embedded")
    assert (field / "params.yaml").read_text().endswith("# not committed\n")


def test_space_is_wanted_on_the_disk_of_the_project(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, disk = video(tmp_path / "a.mp4"), tmp_path / "disk"
    disk.mkdir()
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free._replace(free=0 if Path(path) == disk else 10**15))
    words = (str(source), "--classes", "mud", "--embedded", "--into")
    output = " ".join(new(clone, *words, str(disk / "deep/field"), code=1).split())
    assert "disk/deep/field: expected " in output
    assert "for two copies of a.mp4" in output
    assert list(disk.iterdir()) == []
    new(clone, *words, str(tmp_path / "field"))


def test_a_video_of_the_project_is_used_where_it_lies(clone: Path) -> None:
    (clone / "data/raw").mkdir(parents=True)
    video(clone / "data/raw/mine.mp4")
    new(clone, "data/raw/mine.mp4", "--classes", "mud", "--embedded")
    assert params.load(clone / "params.yaml").extract.source == "data/raw/mine.mp4"
    assert (clone / "data/raw/mine.mp4.dvc").is_file()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{}/a.mp4", "--classes", "mud, Mud"], "this class occurs twice"),
        (["{}/a.mp4", "--classes", "mud,"], "--classes: expected names with commas"),
        (["{}/a.mp4", "--classes", "mud", "--preset", "photos"], "did you mean 'photographs'?"),
        (["{}/text.mp4", "--classes", "mud"], "text.mp4: expected a video"),
        (["{}/empty", "--classes", "mud"], "expected videos (.mp4"),
        (["{}/a.mp4", "--classes", "mud", "--into", "{}/full"], "expected a new or an empty folder"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    arguments: list[str], line: str, clone: Path, tmp_path: Path
) -> None:
    video(tmp_path / "a.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full/other.txt").write_text("")
    before = {path for path in tmp_path.rglob("*") if ".git" not in path.parts}
    output = new(clone, *(argument.format(tmp_path) for argument in arguments), code=1)
    assert line in " ".join(output.split())
    assert {path for path in tmp_path.rglob("*") if ".git" not in path.parts} == before


def test_outside_of_a_clone_there_is_no_project(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4")
    assert "expected a clone of wildseg" in new(tmp_path, "a.mp4", "--classes", "mud", code=1)


def test_another_file_of_the_same_name_is_not_overwritten(clone: Path, tmp_path: Path) -> None:
    (clone / "data/raw").mkdir(parents=True)
    video(clone / "data/raw/a.mp4", frames=10)
    before = (clone / "data/raw/a.mp4").read_bytes()
    assert "expected no other file" in new(clone, str(video(tmp_path / "a.mp4")), "--classes", "mud", code=1)
    assert (clone / "data/raw/a.mp4").read_bytes() == before


# Words, headers and time ---------------------------------------------------------------------------------------------


def test_words() -> None:
    assert words.parse(" mud ,tall  grass,a_b, track = dirt track / gravel") == {
        "mud": ["mud"], "tall_grass": ["tall grass"], "a_b": ["a b"], "track": ["dirt track", "gravel"],
    }  # fmt: skip
    for text in ("", "mud,,x", "mud=", "background", "mud, x=mud", "mud, mud"):
        with pytest.raises(ParamsError):
            words.parse(text)


def test_headers_say_what_was_written(tmp_path: Path) -> None:
    (one,) = media.measure(video(tmp_path / "a.mp4", frames=25, size=(80, 60)))
    assert (one.name, one.width, one.height, one.photos) == ("a", 80, 60, 0)
    assert (one.seconds, one.rate) == (pytest.approx(2.5), pytest.approx(10))
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:100])
    with pytest.raises(DataError, match="b.mp4: expected a video"):
        media.measure(tmp_path / "b.mp4")


def test_key_frames_are_between_a_few_and_all_that_are_looked_at() -> None:
    values = params.load(ROOT / "params.yaml")
    drive = media.Media("a", 224, 168, 100.0, 5.0)
    assert estimate.key_frames([drive], values) == Range(12.5, 250)  # 2.5 a second are looked at
    all_of_them = replace(values, extract=replace(values.extract, fps=None))
    assert estimate.key_frames([drive], all_of_them) == Range(25, 500)
    assert estimate.key_frames([drive, media.Media("p", 9, 9, photos=7)], values) == Range(19.5, 257)
    assert estimate.key_frames([replace(drive, seconds=None)], values) is None


def test_the_ranges_hold_what_the_demo_took_on_two_cores() -> None:
    # docs: 149 key frames of 520 decoded, about four minutes in all, less than half of which is training.
    values = params.load(ROOT / "params.yaml")
    drives = [media.Media("drive", 224, 168, 52.0, 5.0), media.Media("test_drive", 224, 168, 52.0, 5.0)]
    frames = estimate.key_frames(drives, values)
    assert frames is not None
    assert frames.low <= 149 <= frames.high
    spans = estimate.seconds(drives, Range(149, 149), values, cores=2, gpu=False)
    whole = spans["frames"] + spans["training"]
    assert whole.low <= 240 <= whole.high
    assert whole.high / whole.low < 10


def test_more_cores_larger_frames_and_a_gpu_matter() -> None:
    values = params.load(ROOT / "params.yaml")
    real = replace(values, clip=replace(values.clip, model="ViT-B-16"))
    frames, small, large = Range(100, 100), [media.Media("a", 640, 360)], [media.Media("a", 1920, 1080)]
    by = {key: estimate.seconds(*args) for key, args in {
        "small": (small, frames, real, 2, False), "large": (large, frames, real, 2, False),
        "many": (small, frames, real, 16, False), "gpu": (small, frames, real, 2, True),
    }.items()}  # fmt: skip
    assert by["small"]["frames"].high < by["large"]["frames"].high
    assert by["many"]["frames"].high == pytest.approx(by["small"]["frames"].high / 8)
    assert by["gpu"]["frames"].high < by["small"]["frames"].high
    # docs/scale.md counts 1.85e12 operations a frame of seven classes at both scales: 23 s at 40e9 on two cores.
    assert by["small"]["frames"].low / 100 <= 23 <= by["small"]["frames"].high / 100


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (Range(20, 50), "up to a minute"),
        (Range(20, 90), "a minute or two"),
        (Range(60, 600), "1 to 10 minutes"),
        (Range(3600, 90000), "1 to 25 hours"),
    ],
)
def test_ranges_are_read_in_the_unit_of_their_end(span: Range, text: str) -> None:
    assert estimate.shown(span) == text
