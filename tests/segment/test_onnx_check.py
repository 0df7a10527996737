"""An exported file beside its model: the same on rendered frames, and a difference is noticed."""

from pathlib import Path

import numpy as np
import pytest

from tests.methods.architectures.test_architectures import build
from tests.segment.networks import stripes, tiny
from wildseg.core.errors import ModelError, WildsegError
from wildseg.segment import onnx_check
from wildseg.segment.deployed import Segmenter
from wildseg.segment.predict import Predictor, describe
from wildseg_demo.world.world import build_world

pytest.importorskip("onnxruntime")
IDS = [0, 1, 2, 3]
CONFIG = describe("unet", "resnet18", {}, ["lawn", "road", "sky"], IDS)


@pytest.mark.slow
# test_deployed.py has another, and U-Net is compared in tests/test_api.py and by a command in tests/cli/test_export.py.
@pytest.mark.parametrize("architecture", ["deeplabv3plus"])
def test_a_file_predicts_what_its_model_predicts_on_rendered_frames_and_noise(
    architecture: str, tmp_path: Path
) -> None:
    model = Segmenter(Predictor(build(architecture).eval(), IDS), CONFIG)
    path = model.export_onnx(tmp_path / "a.onnx")
    noise = [np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8) for size in ((48, 64), (37, 50))]
    world = build_world(7, "street")
    found = onnx_check.compare(model, path, [*(world.render(metres)[0] for metres in (1.0, 4.0)), *noise])
    assert found.difference <= 1e-4
    assert found.equal >= 0.999


def test_a_file_of_another_model_is_noticed(tmp_path: Path) -> None:
    model = Segmenter(Predictor(tiny().eval(), IDS), CONFIG)
    path = model.export_onnx(tmp_path / "a.onnx")
    images = [stripes(0)[0]]
    assert onnx_check.compare(model, path, images).equal == 1
    other = Segmenter(Predictor(tiny(seed=1).eval(), IDS), CONFIG)
    with pytest.raises(ModelError, match="expected the file to predict what the model predicts"):
        onnx_check.compare(other, path, images)


def test_a_comparison_needs_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_check, "find_spec", lambda _: None)
    with pytest.raises(WildsegError, match="pip install onnxruntime$"):
        onnx_check.compare(Segmenter(Predictor(tiny(), IDS), CONFIG), tmp_path / "a.onnx", [stripes(0)[0]])
