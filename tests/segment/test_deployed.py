"""A deployed segmenter: config, weights and preprocessing as one object; as ONNX too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.methods.architectures import test_architectures
from tests.methods.architectures.test_architectures import SMALL, encoder_of
from tests.segment.networks import stripes, tiny
from wildseg.core.errors import DataError, ModelError, ParamsError, WildsegError
from wildseg.segment import onnx
from wildseg.segment.deployed import Segmenter
from wildseg.segment.predict import Predictor, describe

NAMES = ["lawn", "pavé", "sky"]
CONFIG = describe("unet", "resnet18", {}, NAMES, [1, 2, 3])


@pytest.fixture
def model() -> Segmenter:
    """A network of a few hundred random weights that never answers the background."""
    return Segmenter(Predictor(tiny().eval(), CONFIG["ids"]), CONFIG)


def test_ids_and_probabilities_are_those_of_the_predictor_in_the_size_of_the_image(model: Segmenter) -> None:
    image = stripes(0, 7, 9)[0]
    expected = model.predictor.probabilities(image[None], (0.5, 1.0), True)[0]
    found = model.probabilities(image, scales=(0.5, 1.0), flip=True)
    assert (found.shape, found.dtype) == ((4, 7, 9), np.float32)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.predict(image, scales=(0.5, 1.0), flip=True), found.argmax(0))
    assert (found[0] == 0).all()
    assert model.class_names == ("background", *NAMES)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.float32), np.zeros((3, 4, 4), np.uint8)])
def test_what_is_no_image_is_told(image: np.ndarray, model: Segmenter) -> None:
    for call in (model.predict, model.probabilities):
        with pytest.raises(DataError, match=r"image: expected an array \(H, W, 3\) of uint8, RGB, found one of shape"):
            call(image)


# ONNX ----------------------------------------------------------------------------------------------------------------


def session(path: Path) -> Any:  # noqa: ANN401
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_onnx_file_takes_batches_of_any_size_and_names_its_classes(model: Segmenter, tmp_path: Path) -> None:
    model.predictor.network.train()
    path = model.export_onnx(tmp_path / "a.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]
    assert model.predictor.network.training  # as before
    runs = session(path)
    assert [(one.name, one.shape, one.type) for one in (*runs.get_inputs(), *runs.get_outputs())] == [
        ("image", ["batch", "height", "width", 3], "tensor(uint8)"),
        ("ids", ["batch", "height", "width"], "tensor(uint8)"),
        ("probabilities", ["batch", 4, "height", "width"], "tensor(float)"),
    ]
    assert json.loads(runs.get_modelmeta().custom_metadata_map["classes"]) == ["background", *NAMES]
    for size in ((1, 1), (5, 7), (40, 33)):
        images = np.stack([stripes(k, *size)[0] for k in range(3)])
        ids, probabilities = runs.run(None, {"image": images})
        expected = model.predictor.probabilities(images).numpy()
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        np.testing.assert_array_equal(ids, probabilities.argmax(1))
        assert set(np.unique(ids)) <= {1, 2, 3}


@pytest.mark.slow
# Each takes many seconds: attention over padded bins, a frozen CLIP. Others: test_onnx_check.py and test_api.py.
@pytest.mark.parametrize("architecture", ["pcaa", "san"])
def test_architectures_can_be_exported(architecture: str, tmp_path: Path) -> None:
    network = test_architectures.build(architecture)
    config = describe(architecture, encoder_of(architecture), SMALL[architecture], NAMES, [])
    model = Segmenter(Predictor(network.eval(), [0, 1, 2, 3]), config)
    runs = session(model.export_onnx(tmp_path / "a.onnx"))
    for size in ((48, 64), (37, 50)):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        _, probabilities = runs.run(None, {"image": image[None]})
        np.testing.assert_allclose(probabilities[0], model.probabilities(image), atol=1e-4)


class Unsupported(torch.nn.Module):
    """Needs the values of its input, which no graph of any input has."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.sum() > 0:
            return images
        return torch.cat([images, images[:, :1]], 1)


def test_a_network_that_has_no_onnx_form_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    model = Segmenter(Predictor(Unsupported(), [0, 1]), CONFIG)
    with pytest.raises(ModelError, match="export_onnx: this network cannot be expressed in ONNX") as caught:
        model.export_onnx(tmp_path / "a.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"lawn": "red"}, 'colours.lawn: expected a colour such as "#33aa77" or "#3a7", found \'red\''),
        ({"lawn": 0x33AA77}, 'colours.lawn: expected a colour such as "#33aa77" or "#3a7", found 3385975'),
        ({"lwan": "#33aa77"}, "colours.lwan: there is no such class; did you mean 'lawn'?"),
        ({"background": "#33aa77"}, "colours.background: there is no such class"),
    ],
)
def test_colours_that_mean_nothing_are_one_line_before_the_network_is_traced(
    own: dict[str, str], line: str, tmp_path: Path
) -> None:
    model = Segmenter(Predictor(Unsupported(), [0, 1]), CONFIG)
    with pytest.raises(ParamsError) as caught:
        model.export_onnx(tmp_path / "a.onnx", colours=own)
    assert str(caught.value) == line
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_one_line_with_the_command(
    model: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(WildsegError, match=r"onnxscript not found; run pip install 'wildseg\[onnx\]'$"):
        model.export_onnx(tmp_path / "a.onnx")
