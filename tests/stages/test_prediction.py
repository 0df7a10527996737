"""`wildseg predict` from outside: what it writes of images, video and key frames, what it leaves as it is, mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.cli.test_cli import error_line, run
from tests.frames.clips import cut_off, numbered, write_clip
from tests.stages import tiny_run
from wildseg.artifacts.predictions import ROLES, PredictionFolder
from wildseg.artifacts.project import Artifacts
from wildseg.core.colours import palette
from wildseg.core.images import load_grey_image, load_label_image
from wildseg.exchange.label_info import label_info
from wildseg.execution.engines.local import LocalPool
from wildseg.execution.runtime import Runtime
from wildseg.frames.photos import read_photo
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.video import read_video
from wildseg.methods import segmenter
from wildseg.report.drawing import overlaid
from wildseg.segment.windows import Window
from wildseg.stages.eval.task import PredictTask
from wildseg.stages.prediction import run as prediction
from wildseg.stages.prediction import task
from wildseg.stages.prediction.inputs import FrameItem, Input
from wildseg.stages.prediction.task import PredictionConfig

NAMES = tiny_run.CLASSES.names
OUT = Path("predictions")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """A project with a model of random weights, and four key frames of 4x4 pixels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WILDSEG_DEVICE", "cpu")
    monkeypatch.setenv("WILDSEG_WORKERS", "1")
    artifacts = tiny_run.make(Path())
    tiny_run.save_segmenter(artifacts, tiny_run.network())
    return artifacts


def photos(number: int = 3, folder: str = "photos") -> list[Path]:
    """Write photos of coarse noise, of two sizes."""
    Path(folder).mkdir()
    paths = []
    for index in range(number):
        coarse = np.random.default_rng(index).integers(0, 256, (5, 7, 3), np.uint8)
        paths.append(Path(folder) / f"p{index}.png")
        Image.fromarray(coarse).resize((50, 37 + index % 2)).save(paths[-1])
    return paths


def predict(*arguments: str) -> str:
    result = run("predict", *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def last_line(*arguments: str) -> str:
    """The error line of a run that fails after some progress."""
    result = run("predict", *arguments)
    assert result.exit_code == 1
    return result.stderr.splitlines()[-1].removeprefix("wildseg: error: ")


def files(folder: Path = OUT) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(found.items()) if not name.startswith(".wildseg")}


# Ids -----------------------------------------------------------------------------------------------------------------


def test_key_frames_have_the_ids_that_eval_predicts(project: Artifacts) -> None:
    params = tiny_run.params(scales=(1.0, 2.0), flip=True)
    expected = PredictTask(project.root, NAMES, params.eval, Path())
    expected.setup("cpu")
    output = predict("--scales", "1,2", "--flip")
    assert "predict: 4 frames in" in output
    for frame in tiny_run.FRAMES:
        (project.root / "eval.png").write_bytes(expected.compute(frame.name).files["ids"])
        found = load_label_image(OUT / f"{frame.name}.png")
        np.testing.assert_array_equal(found, load_label_image(project.root / "eval.png"))
    assert set(files()) == {
        *(f"{f.name}.png" for f in tiny_run.FRAMES), "classes.json", "prediction.json", "quarantine.csv"
    }  # fmt: skip


def test_images_have_ids_of_their_own_size_which_the_reader_of_truth_takes(project: Artifacts) -> None:
    paths = photos()
    predict("photos", "--window", "32", "--overlap", "0.5", "--max-side", "40")
    model = segmenter.load(project.segmenter_folder)
    for path in paths:
        image = read_photo(path)
        truth = project.read_truth(OUT / path.name, NAMES, image.shape[:2])
        np.testing.assert_array_equal(truth.ids, model.predict(image, window=Window(32, 0.5), max_side=40))
        assert truth.mapped
        assert len(np.unique(truth.ids)) > 1
    # By another order of classes, the map beside the masks gives other ids.
    other = project.read_truth(OUT / paths[0].name, NAMES[::-1], read_photo(paths[0]).shape[:2])
    expected = load_label_image(OUT / paths[0].name)
    np.testing.assert_array_equal(other.ids, np.where(expected > 0, 4 - expected, 0))


def test_every_way_to_name_a_frame_is_one(project: Artifacts) -> None:
    first, second, _ = photos()
    predict("drive_000010", str(first), str(second))
    assert {name for name in files() if name.endswith(".png")} == {"drive_000010.png", "p0.png", "p1.png"}


# What is beside ids --------------------------------------------------------------------------------------------------


def test_confidence_probabilities_overlay_and_costmap_are_those_of_the_model(project: Artifacts) -> None:
    (path,) = photos(1)
    predict(str(path), *(f"--{role}" for role in ROLES))
    image = read_photo(path)
    expected = segmenter.load(project.segmenter_folder).probabilities(image)
    ids = expected.argmax(0).astype(np.uint8)
    np.testing.assert_array_equal(load_grey_image(OUT / "costmap/p0.png"), ids)
    np.testing.assert_array_equal(load_grey_image(OUT / "confidence/p0.png"), np.rint(expected.max(0) * 255))
    with np.load(OUT / "probabilities/p0.npz", allow_pickle=False) as found:
        assert found["probabilities"].dtype == np.float16
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-3)
    picture = np.asarray(Image.open(OUT / "overlay/p0.jpg")).astype(int)
    assert np.abs(picture - (palette(NAMES)[ids].astype(int) + image) / 2).mean() < 12  # JPEG
    info = json.loads((OUT / "costmap/label_info.json").read_text())
    assert info["class_map"] == [{"class_id": i, "class_name": name} for i, name in enumerate(NAMES, 1)]


def test_colours_chosen_in_the_project_are_those_of_ids_and_overlays(project: Artifacts) -> None:
    path = photos(1)[0]
    predict(str(path))
    default = np.asarray(Image.open(OUT / "p0.png").convert("RGB"))
    ids = load_label_image(OUT / "p0.png")
    np.testing.assert_array_equal(default, palette(NAMES)[ids])
    Path("params.yaml").write_text("colours: {lawn: '#f08', zork: '#00f'}\n")  # of a project with other classes, too
    assert ", 1 of them as they were" not in predict(str(path), "--overlay")
    own = palette(NAMES, {"lawn": "#ff0088"})
    np.testing.assert_array_equal(np.asarray(Image.open(OUT / "p0.png").convert("RGB")), own[ids])
    picture = np.asarray(Image.open(OUT / "overlay/p0.jpg")).astype(int)
    assert np.abs(picture - (own[ids].astype(int) + read_photo(path)) / 2).mean() < 12  # JPEG
    assert ", 1 of them as they were" in predict(str(path), "--overlay")
    Path("params.yaml").write_text("colours: {lawn: '#ff0088', zork: '#0f0'}\n")  # what is shown is the same
    assert ", 1 of them as they were" in predict(str(path), "--overlay")
    Path("params.yaml").write_text("classes: {lawn: lawn}\ncolours: {lawn: green}\n")
    assert last_line(str(path)) == 'colours.lawn: expected a colour such as "#33aa77" or "#3a7", found \'green\''


def test_an_overlay_shows_the_background_as_it_is() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    found = overlaid(np.array([[0, 2]], np.uint8), image, palette(NAMES))
    assert found[0, 0].tolist() == [100, 100, 100]
    assert found[0, 1].tolist() == [(int(channel) + 101) // 2 for channel in palette(NAMES)[2]]


def test_a_label_info_lists_what_occurs_in_masks() -> None:
    names = ["background", "lawn", "road"]
    assert [one["class_name"] for one in label_info(names, [0, 1, 2])["class_map"]] == names
    assert label_info(names, [1, 2])["class_map"][0] == {"class_id": 1, "class_name": "lawn"}
    assert label_info(names, [1])["threshold"] == 0


# Video ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(96, 128), (33, 47)])
def test_a_video_becomes_ids_of_every_frame_and_a_video_of_the_same_length_rate_and_size(
    project: Artifacts, size: tuple[int, int]
) -> None:
    images = [np.asarray(Image.fromarray(numbered(n)).resize(size[::-1])) for n in range(12)]
    options = {"codec": "libx264"} if size[0] % 2 == 0 else {"codec": "ffv1", "prepare": _rgb}
    path = write_clip(Path("My trip.mkv"), images, rate=24, **options)  # type: ignore[arg-type]
    predict(str(path), "--overlay")
    model = segmenter.load(project.segmenter_folder)
    frames = [sample.pixels.rgb() for sample in read_video(path, "My_trip", ReadStats())]
    assert len(frames) == 12
    for index, image in enumerate(frames):
        ids = load_label_image(OUT / f"My_trip/My_trip_{index:06d}.png")
        np.testing.assert_array_equal(ids, model.predict(image))
    with av.open(str(OUT / "overlay/My_trip.mp4")) as container:
        stream = container.streams.video[0]
        pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
        assert (stream.average_rate, stream.frames, stream.height, stream.width) == (24, 12, *size)
    assert [time for time, _ in pictures] == pytest.approx([index / 24 for index in range(12)], abs=1e-3)
    for (_, picture), image in zip(pictures, frames, strict=True):
        expected = overlaid(model.predict(image), image, palette(NAMES))
        assert np.abs(picture.astype(int) - expected).mean() < 20  # of 255; H.264, and colour at half the size


def _rgb(stream: av.VideoStream) -> None:
    stream.pix_fmt = "bgr0"


def test_frames_of_a_video_are_read_a_few_ahead_and_not_kept(project: Artifacts) -> None:
    read = 0

    class Counted(Input):
        def frames(self, stats: ReadStats) -> Iterator[FrameItem]:
            nonlocal read
            for index in range(1000):
                read += 1
                yield FrameItem(f"trip/{index}", np.zeros((4, 4, 3), np.uint8))

    config, runtime = PredictionConfig(project.segmenter_folder), Runtime(1, "cpu")
    tools = task.Tools(project.root, config, PredictionFolder(OUT), "", palette(NAMES), "cpu", 0)
    with LocalPool(1, lambda _: tools) as pool:
        done = prediction._predicted([Counted("trip")], pool, tools.folder, config, runtime, ReadStats())
        for number in range(1, 21):
            result = next(done)
            assert isinstance(result, task.Done)
            assert result.picture is None
            assert read <= number + 1
        done.close()  # type: ignore[attr-defined]


# Again ---------------------------------------------------------------------------------------------------------------


def test_what_is_there_is_left_as_it_is_until_the_image_the_model_or_an_option_changes(project: Artifacts) -> None:
    paths = photos()
    predict("photos")
    before = {path: path.stat().st_mtime_ns for path in OUT.glob("p*.png")}

    def computed(*arguments: str) -> set[str]:
        earlier = {path: path.stat().st_mtime_ns for path in OUT.glob("p*.png")}
        predict("photos", *arguments)
        return {path.name for path, changed in earlier.items() if path.stat().st_mtime_ns != changed}

    assert computed() == set()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    Image.fromarray(read_photo(paths[1])[::-1]).save(paths[1])
    assert computed() == {"p1.png"}
    assert computed("--flip") == {"p0.png", "p1.png", "p2.png"}
    assert computed("--confidence") == {"p0.png", "p1.png", "p2.png"}
    assert (OUT / "confidence/p0.png").exists()
    tiny_run.save_segmenter(project, tiny_run.network(always=2))
    assert computed() == {"p0.png", "p1.png", "p2.png"}
    assert not (OUT / "confidence/p0.png").exists()  # it was the other model's
    (OUT / "p0.png").write_bytes((OUT / "p0.png").read_bytes()[:20])
    assert computed() == {"p0.png"}


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_files_of_a_clean_run(
    project: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_clip(Path("trip.mp4"), 8))
    predict(path, "--overlay", "--into", "clean")
    saved, save = [], PredictionFolder.save

    def stopped_at_the_fourth(self: PredictionFolder, frame: str, *arguments: object) -> None:
        if len(saved) == 3:
            raise KeyboardInterrupt
        save(self, frame, *arguments)  # type: ignore[arg-type]
        saved.append(frame)

    monkeypatch.setattr(PredictionFolder, "save", stopped_at_the_fourth)
    assert run("predict", path, "--overlay").exit_code == 130
    whole = {name: content for name, content in files().items() if name.startswith("trip/")}
    assert whole == {name: content for name, content in files(Path("clean")).items() if name in whole}
    assert len(whole) == 3
    assert list((OUT / "overlay").iterdir()) == []
    (OUT / "overlay" / ".trip.123.mp4").touch()  # what a kill leaves
    monkeypatch.setattr(PredictionFolder, "save", save)
    assert "8 frames, 3 of them as they were" in predict(path, "--overlay")
    assert files() == files(Path("clean"))


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_any_number_of_workers_writes_the_same_bytes(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    photos()
    path = str(write_clip(Path("trip.mp4"), 8))
    arguments = ["photos", path, "drive_000010", *(f"--{role}" for role in ROLES), "--flip"]
    predict(*arguments, "--into", "one")
    monkeypatch.setenv("WILDSEG_WORKERS", "2")
    predict(*arguments, "--into", "two")
    assert files(Path("one")) == files(Path("two"))
    assert len(files(Path("one"))) > 40


# Mistakes ------------------------------------------------------------------------------------------------------------


def test_images_that_cannot_be_read_are_listed_and_fail_the_run_above_the_limit(project: Artifacts) -> None:
    paths = photos(4)
    predict("photos")
    paths[2].write_bytes(b"no picture")
    output = predict("photos", "--max-failures", "0.25")
    assert "3 frames, 3 of them as they were" in output
    assert "1 quarantined" in output
    assert not (OUT / "p2.png").exists()
    assert (OUT / "quarantine.csv").read_text().splitlines()[1].startswith("p2,")
    line = last_line("photos", "--max-failures", "0.24")
    assert line.startswith("--max-failures: expected at most 24% of 4 frames to be unreadable")
    assert "found 1 unreadable, first p2 (" in line
    line = last_line(str(paths[2]))
    assert line.startswith("p2: expected an image or a video that can be read, but ")


def test_a_video_that_is_cut_off_counts_the_frames_that_it_lacks(project: Artifacts) -> None:
    path = cut_off(write_clip(Path("trip.mkv"), 40), 0.6)
    assert last_line(str(path)).startswith("--max-failures: expected at most 10% of ")
    output = predict(str(path), "--max-failures", "0.9")
    assert "quarantined" in output
    assert (OUT / "quarantine.csv").read_text().count("\n") >= 2
    Path("empty.mp4").touch()
    line = last_line("empty.mp4")
    assert line == "empty.mp4: expected an image or a video that can be read, but the file is empty"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.mp4"], "nowhere.mp4: expected an image, a video, a folder of them, or a key frame of "),
        (["drive_00001"], "; did you mean 'drive_000010'?"),
        (["params.txt"], "params.txt: expected an image (.jpg, .png, .tif, ...) or a video (.mp4, .mov, .mkv, ...)"),
        (["nothing"], "nothing: expected videos (.mp4, "),
        (["photos", "photos/p0.png"], "its predictions would have the name of those of photos/p0.png"),
        (["photos", "--into", "data/predictions"], "--into data/predictions: expected a folder outside of data"),
        (["photos", "--model", "photos"], "photos: expected a trained model (config.json and model.safetensors)"),
        (["photos", "--model", "odd"], "odd/config.json: expected one of "),
        (["photos", "--model", "ids"], "ids/config.json: expected the names of classes and the ids"),
        (["photos", "--model", "bare"], "bare/model.safetensors: expected a file"),
    ],
)
def test_a_mistake_is_one_line(project: Artifacts, arguments: list[str], expected: str) -> None:
    photos()
    Path("nothing").mkdir()
    Path("params.txt").touch()
    unet = {"architecture": "unet", "classes": ["lawn"]}
    configs = {"odd": {"architecture": "unett"}, "ids": {**unet, "ids": [9]}, "bare": {**unet, "ids": [1]}}
    for folder, config in configs.items():
        Path(folder).mkdir()
        (Path(folder) / "config.json").write_text(json.dumps(config))
    assert expected in error_line(run("predict", *arguments))


def test_no_key_frames_is_an_error(tmp_path: Path, project: Artifacts) -> None:
    (project.frames_folder / "frames.csv").unlink()
    assert "run 'dvc repro extract'" in error_line(run("predict"))


@pytest.mark.parametrize("option", [["--overlap", "1"], ["--overlap", "nan"], ["--scales", "1,,2"], ["--scales", "0"],
                                    ["--scales", "nan"], ["--window", "8"], ["--max-failures", "2"]])  # fmt: skip
def test_options_that_mean_nothing_are_refused(option: list[str]) -> None:
    result = run("predict", *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr


@pytest.mark.parametrize(("seconds", "text"), [(0.0004, ""), (10.0, ", 2.0 frames/s")])
def test_frames_a_second_are_shown_once_there_was_time_to_count_them(seconds: float, text: str) -> None:
    assert prediction._Summary(frames=21, times_s=(5.0, 5.0 + seconds)).pace == text
