"""`wildseg export onnx` from outside: one file that is run without wildseg, and what a robot reads beside it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.cli.test_cli import error_line, run
from tests.frames.clips import write_clip
from tests.stages import tiny_run
from wildseg.core.colours import palette
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.video import read_video
from wildseg.methods import segmenter

onnxruntime = pytest.importorskip("onnxruntime")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "onnx_video.py"
NAMES = ["background", *tiny_run.CLASSES.names]
OWN = {"lawn": "#ff0088"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project whose model was exported, with all options, and what the command printed."""
    root = tmp_path_factory.mktemp("exported")
    tiny_run.save_segmenter(tiny_run.make(root), tiny_run.network())
    (root / "params.yaml").write_text("colours: {lawn: '#f08', zork: '#00f'}\n")  # zork is no class of the model
    before = Path.cwd()
    os.chdir(root)
    try:
        result = run("export", "onnx", "--into", "out/model.onnx", "--costmap", "--check")
    finally:
        os.chdir(before)
    assert result.exit_code == 0, result.output
    return root, result.output


def test_it_says_what_it_wrote_and_how_it_compares(exported: tuple[Path, str]) -> None:
    root, output = exported
    first, second, third = output.splitlines()
    assert first.startswith("export: out/model.onnx, ")
    assert first.endswith("unet with tu-test_resnet, 3 classes")
    assert "LabelInfo" in second
    assert third.startswith("export: on 4 key frames probabilities differ by at most ")
    assert "100.000% of pixels are equal" in third
    assert "frames/s by onnxruntime" in third
    assert {path.name for path in (root / "out").iterdir()} == {"model.onnx", "model.label_info.json"}


def test_metadata_say_how_images_are_prepared_and_what_ids_mean(exported: tuple[Path, str]) -> None:
    session = onnxruntime.InferenceSession(exported[0] / "out/model.onnx", providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["classes"]) == NAMES
    np.testing.assert_array_equal(json.loads(found["colours"]), palette(NAMES[1:], OWN)[:4])
    assert json.loads(found["ids"]) == [1, 2, 3]
    assert (found["architecture"], found["encoder"]) == ("unet", tiny_run.ENCODER)
    assert json.loads(found["preprocessing"])["mean"] == [0.485, 0.456, 0.406]


def test_a_costmap_gets_mono8_masks_confidence_and_names(exported: tuple[Path, str]) -> None:
    root, _ = exported
    session = onnxruntime.InferenceSession(root / "out/model.onnx", providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 256, (1, 21, 30, 3), np.uint8)
    ids, confidence = session.run(["ids", "confidence"], {"image": image})
    expected = segmenter.load(root / "models/segmenter").probabilities(image[0])
    np.testing.assert_array_equal(ids[0], expected.argmax(0))
    assert (ids.dtype, confidence.dtype, confidence.shape) == (np.uint8, np.uint8, (1, 21, 30))
    assert np.abs(confidence[0] - 255 * expected.max(0)).max() < 0.51
    info = json.loads((root / "out/model.label_info.json").read_text())
    assert set(info) == {"header", "class_map", "threshold"}  # vision_msgs/LabelInfo
    assert [(one["class_id"], one["class_name"]) for one in info["class_map"]] == [*enumerate(NAMES)][1:]


def test_the_example_runs_on_a_video_without_wildseg(exported: tuple[Path, str], tmp_path: Path) -> None:
    nodes = [node for node in ast.walk(ast.parse(EXAMPLE.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {alias.name for node in nodes for alias in node.names} == {"av", "json", "numpy", "onnxruntime", "sys"}
    root, _ = exported
    clip = write_clip(tmp_path / "trip.mp4", 7, rate=24)
    command = [sys.executable, EXAMPLE, root / "out/model.onnx", clip, tmp_path / "classes.mp4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    model = segmenter.load(root / "models/segmenter")
    frames = [sample.pixels.rgb() for sample in read_video(clip, "trip", ReadStats())]
    ids = np.stack([model.predict(image) for image in frames])
    shares = np.bincount(ids.ravel(), minlength=4) / ids.size
    printed = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines())
    for name, share in zip(NAMES, shares, strict=True):
        assert float(printed[name].rstrip("%")) == pytest.approx(100 * share, abs=0.5)
    with av.open(str(tmp_path / "classes.mp4")) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.average_rate, len(pictures), stream.width, stream.height) == (24, 7, 128, 96)
    for picture, image, own in zip(pictures, frames, ids, strict=True):
        expected = np.where(own[..., None] > 0, image // 2 + palette(NAMES[1:], OWN)[own] // 2, image)
        assert np.abs(picture.astype(int) - expected).mean() < 20


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--into", "model.pt"], "--into: expected the name of a file that ends in .onnx, found 'model.pt'"),
        (["--model", "nowhere"], "nowhere: expected a trained model (config.json and model.safetensors)"),
        (["--check"], "data/frames/frames.csv: expected a CSV file"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert error_line(run("export", "onnx", *arguments)).startswith(expected)
    assert list(tmp_path.iterdir()) == []
