"""`wildseg explain` from outside: a trained model on the disk, frames by name, in shards or as files, and mistakes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_cli import error_line, run
from tests.methods.architectures import test_architectures
from tests.methods.architectures.test_architectures import ALL, SMALL, WEIGHTS, encoder_of
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cli import explanations, inspect
from wildseg.core import lookup
from wildseg.segment.predict import describe
from wildseg.segment.vocabulary import NAMED
from wildseg.stages.explainer import METHODS, Explainer, ExplanationRequest

CLASSES = ["lawn", "road", "sky"]
HEIGHT, WIDTH = 37, 50  # no multiple of anything
FRAMES = ["drive_000000", "drive_000010"]
STAGES = ["encoder.layer2", "decoder.blocks.0", "decoder.blocks.1", "decoder.blocks.2"]


def network(architecture: str) -> torch.nn.Module:
    """A network of random weights, the same every time."""
    return test_architectures.build(architecture, len(CLASSES)).eval()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """A project with a model of random weights that never predicts the background, and two frames."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WILDSEG_DEVICE", "cpu")
    return made(tmp_path, "unet")


def made(root: Path, architecture: str) -> Artifacts:
    artifacts = Artifacts(root)
    rng = np.random.default_rng(0)
    for frame in FRAMES:
        coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
        artifacts.save_image(frame, np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT))))
    artifacts.save_frames([Frame(name, "drive", int(name[-6:]), 0.0, "test") for name in FRAMES])
    config = describe(architecture, encoder_of(architecture), SMALL[architecture], CLASSES, [1, 2, 3])
    if architecture in WEIGHTS:
        config[NAMED] = WEIGHTS[architecture]
    artifacts.save_segmenter(network(architecture).state_dict(), config)
    return artifacts


def answered(artifacts: Artifacts, frame: str = FRAMES[0]) -> str:
    """A class that the model predicts in a frame."""
    prediction = (
        Explainer(artifacts).explain(frame, artifacts.load_image(frame), "lawn", ExplanationRequest()).sheet.prediction
    )
    return CLASSES[int(np.bincount(prediction.ravel()).argmax()) - 1]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# What it writes ------------------------------------------------------------------------------------------------------


def test_a_sheet_a_frame_and_class_and_the_maps_as_numbers(project: Artifacts) -> None:
    name = answered(project)
    other = next(each for each in CLASSES if each != name)
    result = run("explain", *FRAMES, "--class", name, "--class", other, "--class", name, "--features", "--save-maps")
    assert result.exit_code == 0, result.output
    wanted = [f"{frame}/{each}.{kind}" for frame in FRAMES for each in (name, other) for kind in ("npz", "png")]
    assert files(project.root / "explain") == sorted(wanted)
    lines = result.output.splitlines()
    assert len(lines) == 4
    said = rf"explain: {FRAMES[0]}, {name}: target: the pixels predicted as {name}, [0-9.]+% of the frame; see (\S+)"
    assert re.fullmatch(said, lines[0])[1] == f"explain/{FRAMES[0]}/{name}.png"  # type: ignore[index]
    with Image.open(project.root / "explain" / FRAMES[0] / f"{name}.png") as picture:
        assert picture.width > 1200
    with np.load(project.root / "explain" / FRAMES[0] / f"{name}.npz", allow_pickle=False) as found:
        assert found["maps"].shape == (2, len(STAGES), HEIGHT, WIDTH)
        assert found["maps"].dtype == np.float32
        assert found["maps"].max() == pytest.approx(1, abs=1e-5)
        assert found["methods"].tolist() == ["seg_gradcam", "hirescam"]
        assert found["layers"].tolist() == STAGES
        np.testing.assert_array_equal(found["region"], found["prediction"] == 1 + CLASSES.index(name))
        assert found["region"].any()
        assert found["probability"].shape == (HEIGHT, WIDTH)


def test_the_prediction_is_that_of_the_model_in_use(project: Artifacts) -> None:
    from wildseg.segment import predict

    image = project.load_image(FRAMES[1])
    state, config = project.load_segmenter()
    build = lookup.load("methods.architectures", "unet").build
    (expected,) = predict.load(build, state, config).predict([image])
    found = Explainer(project).explain("a", image, "road", ExplanationRequest()).sheet
    np.testing.assert_array_equal(found.prediction, expected)


def test_the_map_of_the_last_stage_is_worked_out_from_the_network_alone(project: Artifacts) -> None:
    # Independent of what records and of what differentiates: the head is a 3x3 convolution of the last stage.
    image = project.load_image(FRAMES[0])
    found = Explainer(project).explain("a", image, "road", ExplanationRequest(box=(10, 5, 30, 20), layers=STAGES[-1:]))
    net, kept = network("unet"), {}
    net.decoder.register_forward_hook(lambda _m, _i, output: kept.update(features=output))
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        net((torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255 - mean) / std)
    features = kept["features"][0].numpy()  # (8, 40, 56)
    kernel = net.segmentation_head[0].weight[2].detach().numpy()  # (8, 3, 3)
    gradient = np.zeros_like(features)
    for y in range(5, 20):
        for x in range(10, 30):
            gradient[:, y - 1 : y + 2, x - 1 : x + 2] += kernel
    hires = np.maximum((gradient * features).sum(0), 0)
    seg = np.maximum((gradient.mean((1, 2))[:, None, None] * features).sum(0), 0)
    for index, raw in enumerate((seg, hires)):
        shown = raw[:HEIGHT, :WIDTH] - raw[:HEIGHT, :WIDTH].min()
        np.testing.assert_allclose(found.maps[index, 0], shown / shown.max(), atol=1e-4)
        assert shown.max() > 0


def test_running_it_again_writes_the_same_bytes(project: Artifacts) -> None:
    arguments = ["explain", FRAMES[0], "--class", "road", "--everywhere", "--features", "--save-maps", "--into"]
    for folder in ("one", "two"):
        assert run(*arguments, folder).exit_code == 0
    assert files(project.root / "one") == [f"{FRAMES[0]}/road-everywhere.npz", f"{FRAMES[0]}/road-everywhere.png"]
    for name in files(project.root / "one"):
        assert (project.root / "one" / name).read_bytes() == (project.root / "two" / name).read_bytes()


def test_the_command_line_offers_every_method_there_is() -> None:
    (option,) = (each for each in inspect.explain.params if each.name == "method")
    assert list(option.type.choices) == [*METHODS, "both"]  # type: ignore[attr-defined]


def test_names_of_files_say_what_was_asked(project: Artifacts) -> None:
    for arguments in (["--pixel", "12,8"], ["--region", "10, 20,40,37"], ["--everywhere"], ["--method", "hirescam"]):
        result = run("explain", FRAMES[0], "--class", "sky", *arguments)
        assert result.exit_code == 0, result.output
    names = ["sky-at-12-8.png", "sky-everywhere.png", "sky-in-10-20-40-37.png", "sky.png"]
    assert files(project.root / "explain") == [f"{FRAMES[0]}/{name}" for name in names]


def test_a_class_that_is_nowhere_answered_is_said_and_has_maps_of_zeros(project: Artifacts) -> None:
    state, config = project.load_segmenter()
    state["segmentation_head.0.bias"] = torch.tensor([0.0, 99.0, 0.0, 0.0])  # lawn everywhere
    project.save_segmenter(state, config)
    result = run("explain", FRAMES[0], "--class", "sky", "--save-maps")
    assert result.exit_code == 0, result.output
    assert "target: the pixels predicted as sky: there are none, so all maps are zero" in result.output
    with np.load(project.root / "explain" / FRAMES[0] / "sky.npz", allow_pickle=False) as found:
        assert not found["maps"].any()


@pytest.mark.parametrize("architecture", ALL)
def test_every_architecture_is_explained(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path, architecture)
    result = run("explain", FRAMES[0], "--class", "road", "--region", "20,10,40,30", "--features", "--save-maps")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "explain" / FRAMES[0] / "road-in-20-10-40-30.npz", allow_pickle=False) as found:
        assert found["maps"].any(axis=(2, 3)).mean() >= 0.5
        assert len(found["layers"]) >= 3


def test_frames_in_shards_and_files_of_any_kind_are_explained_alike(project: Artifacts) -> None:
    image = project.load_image(FRAMES[0])
    Image.fromarray(image).save(project.root / "photo.png")
    turned = Image.Exif()
    turned[0x0112] = 8  # stored on its side
    Image.fromarray(np.rot90(image, -1)).save(project.root / "phone.tiff", exif=turned)
    loose = explanations.find(project, FRAMES[0])
    project.pack_frames(FRAMES)
    assert not project.frame_path(FRAMES[0]).exists()
    for text in (FRAMES[0], "photo.png", "phone.tiff"):
        title, found = explanations.find(project, text)
        assert title == Path(text).stem
        np.testing.assert_array_equal(found, loose[1])
    assert run("explain", FRAMES[0], "photo.png", "--class", "lawn").exit_code == 0
    assert files(project.root / "explain") == [f"{FRAMES[0]}/lawn.png", "photo/lawn.png"]


def test_a_photo_needs_no_key_frames_and_can_be_shrunk(project: Artifacts) -> None:
    (project.frames_folder / "frames.csv").unlink()
    Image.fromarray(np.zeros((600, 900, 3), np.uint8)).save(project.root / "large.jpg")
    result = run("explain", "large.jpg", "--class", "lawn", "--max-side", "90", "--save-maps")
    assert result.exit_code == 0, result.output
    with np.load(project.root / "explain" / "large" / "lawn.npz", allow_pickle=False) as found:
        assert found["maps"].shape[2:] == (60, 90)


def test_layers_are_listed_with_a_star_at_the_default_ones(project: Artifacts) -> None:
    result = run("explain", "--list-layers")
    assert result.exit_code == 0
    starred = re.findall(r"^\* (\S+) +\d+ channels, stride (\d+)$", result.output, re.MULTILINE)
    assert starred == [
        ("encoder.layer2", "8"),
        ("decoder.blocks.0", "4"),
        ("decoder.blocks.1", "2"),
        ("decoder.blocks.2", "1"),
    ]
    assert re.search(r"^  encoder\.layer1\.0\.conv1 ", result.output, re.MULTILINE)


# A person's mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--class", "lawm"],
         "--class: expected a class of the model: lawn, road, sky; found 'lawm'; did you mean 'lawn'?"),
        (["--class", "background"], "--class: expected a class of the model: lawn, road, sky; found 'background'"),
        (["--class", "sky", "--pixel", "50,3"],
         "--pixel: expected x from 0 to 49 and y from 0 to 36 in a frame of 50x37; found 50,3"),
        (["--class", "sky", "--pixel", "here"], "--pixel: expected x,y as whole numbers of pixels; found 'here'"),
        (["--class", "sky", "--pixel", "1,2,3"], "--pixel: expected x,y as whole numbers of pixels; found '1,2,3'"),
        (["--class", "sky", "--pixel", "-1,2"],
         "--pixel: expected x from 0 to 49 and y from 0 to 36 in a frame of 50x37; found -1,2"),
        (["--class", "sky", "--region", "9,9,9,20"],
         "--region: expected x0,y0,x1,y1 with x0 < x1 and y0 < y1; found 9,9,9,20"),
        (["--class", "sky", "--region", "0,0,51,37"],
         "--region: expected a box inside the frame, which is 0,0,50,37; found 0,0,51,37"),
        (["--class", "sky", "--region", "0,0,5"],
         "--region: expected x0,y0,x1,y1 as whole numbers of pixels; found '0,0,5'"),
        (["--class", "sky", "--into", "data/explain"],
         "--into data/explain: expected a folder outside of data, whose files are DVC's"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(project: Artifacts, arguments: list[str], line: str) -> None:
    assert error_line(run("explain", FRAMES[0], *arguments)) == line
    assert not (project.root / "explain").exists()


def test_an_unknown_layer_is_one_line_with_the_nearest(project: Artifacts) -> None:
    line = error_line(run("explain", FRAMES[0], "--class", "sky", "--layer", "decoder.block.1"))
    assert line.startswith(
        "--layer: expected one of encoder.layer2, decoder.blocks.0, decoder.blocks.1, decoder.blocks.2, "
    )
    assert line.endswith("found 'decoder.block.1'; did you mean 'decoder.blocks.1'?")


def test_an_unknown_frame_is_one_line_with_the_nearest(project: Artifacts) -> None:
    assert error_line(run("explain", "drive_00010", "--class", "sky")) == (
        "drive_00010: expected a key frame of data/frames/frames.csv or an image file; there is neither; "
        "did you mean 'drive_000010'?"
    )


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "the file is empty"), (b"text", "not a picture in a known format")]
)
def test_a_file_that_is_no_picture_is_one_line(project: Artifacts, content: bytes, reason: str) -> None:
    (project.root / "notes.jpg").write_bytes(content)
    line = error_line(run("explain", "notes.jpg", "--class", "sky"))
    assert re.fullmatch(rf"notes\.jpg: expected an image: .*{reason}", line)


def test_two_files_of_one_name_do_not_overwrite_each_other(project: Artifacts) -> None:
    (project.root / "other").mkdir()
    for path in ("a.png", "other/a.png"):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(project.root / path)
    line = error_line(run("explain", "a.png", "a.png", "other/a.png", "--class", "sky"))
    assert line.startswith("other/a.png: a.png has the same name, so that its sheets would be overwritten; ")


def test_without_a_model_it_says_what_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = error_line(run("explain", "a.jpg", "--class", "sky"))
    assert line.startswith("models/segmenter/model.safetensors: expected a trained model")
    assert line.endswith("run 'dvc repro train'")


def test_a_class_whose_name_is_a_path_is_refused(project: Artifacts) -> None:
    state, config = project.load_segmenter()
    project.save_segmenter(state, {**config, "classes": ["lawn", "../../road", "sky"]})
    assert "expected plain names of classes; found '../../road'" in error_line(
        run("explain", FRAMES[0], "--class", "sky")
    )


@pytest.mark.parametrize(
    "arguments",
    [[], [FRAMES[0]], ["--class", "sky"], [FRAMES[0], "--class", "sky", "--pixel", "1,1", "--everywhere"],
     [FRAMES[0], "--class", "sky", "--method", "magic"], [FRAMES[0], "--class", "sky", "--max-side", "0"]],
)  # fmt: skip
def test_what_the_command_line_itself_refuses(project: Artifacts, arguments: list[str]) -> None:
    assert run("explain", *arguments).exit_code == 2
