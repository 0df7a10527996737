"""The public API as a notebook uses it: what an import loads, what it names, and the ten lines of its docstring."""

from __future__ import annotations

import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

import wildseg as ws
from tests.programs import python
from tests.stages import tiny_run
from tests.test_layers import HEAVY, loaded_after
from wildseg.artifacts.project import Artifacts
from wildseg.methods.architectures import unet
from wildseg.segment.predict import Predictor, describe
from wildseg_demo.world.surfaces import Surface
from wildseg_demo.world.world import build_world

ROOT = Path(__file__).parents[1]
TINY_CLIP = ROOT / "models" / "tiny_clip" / "model.safetensors"


# The import ----------------------------------------------------------------------------------------------------------


def test_the_import_alone_loads_nothing_that_takes_time() -> None:
    loaded = loaded_after("import wildseg, sys\nassert [name for name in sys.modules if 'wildseg.' in name] == []")
    assert not loaded & {*HEAVY, "numpy", "typing", "dataclasses", "cv2", "PIL", "scipy", "click", "yaml"}


def test_names_that_need_no_network_load_none() -> None:
    assert not loaded_after("import wildseg; wildseg.Classes({'lawn': 'lawn'}); wildseg.DataError") & HEAVY


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    assert set(ws.__all__) <= set(dir(ws))
    assert [name for name in ws.__all__ if not (getattr(ws, name).__doc__ or "").strip()] == []


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'wildseg' has no attribute 'label_images'"):
        ws.label_images  # noqa: B018


def test_rooms_stay_importable_beside_the_public_names() -> None:
    answer = python(
        "-c", "import wildseg; from wildseg import core; import wildseg.metrics; print(wildseg.core is core)"
    )
    assert answer.output == "True\n", answer


BEFORE = """import numpy as np
with np.load("given.npz") as given:
    image, truth = given["image"], given["truth"]
"""
AFTER = """
np.savez("found.npz", names=labels.names, maps=maps, mask=mask, confidence=confidence, ids=ids)
"""


# The ten lines -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def park() -> tuple[np.ndarray, np.ndarray]:
    """A rendered image (168, 224, 3) and its truth: 1 lawn, 2 curb, 0 everything else."""
    image, surfaces = build_world(7, "park").render(3.0)
    truth = np.zeros(surfaces.shape, np.uint8)
    truth[surfaces == Surface.LAWN] = 1
    truth[surfaces == Surface.CURB] = 2
    return image, truth


def trained(image: np.ndarray, truth: np.ndarray, steps: int = 20) -> torch.nn.Module:
    """A small U-Net that has learned one image."""
    torch.manual_seed(0)
    network = unet.build(2, "resnet18", None, **tiny_run.OPTIONS)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = 0.5  # few steps
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    pixels, target = Predictor(network, range(3)).normalised(image[None]), torch.from_numpy(truth[None]).long()
    for _ in range(steps):
        optimiser.zero_grad()
        functional.cross_entropy(network.train()(pixels), target).backward()
        optimiser.step()
    return network


def test_the_ten_lines_run_as_written(
    park: tuple[np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    image, truth = park
    config = describe("unet", "resnet18", tiny_run.OPTIONS, ["lawn", "curb"], [0, 1, 2])
    Artifacts(tmp_path).save_segmenter(trained(image, truth).state_dict(), config)
    monkeypatch.chdir(tmp_path)

    lines = textwrap.dedent(ws.__doc__.split("\n\n")[2])  # type: ignore[union-attr]
    here = f'"wildseg-tiny", "{TINY_CLIP}", device="cpu"'
    written = '"ViT-B-16-quickgelu", "openai", device="cuda"'
    assert (len(lines.splitlines()), lines.count(written)) == (10, 1)
    np.savez("given.npz", image=image, truth=truth)
    Path("notebook.py").write_text(BEFORE + lines.replace(written, here) + AFTER)
    answer = python("notebook.py", cwd=tmp_path)
    assert answer.code == 0, answer
    found = np.load("found.npz", allow_pickle=False)

    assert found["names"][0] == "lawn"
    assert found["maps"].shape == (len(found["names"]), 80, 107)  # pixels of the image, its shorter side 80
    assert found["mask"].shape == found["confidence"].shape == found["ids"].shape == truth.shape
    lawn = found["maps"][0]
    truly = cv2.resize((truth == 1).astype(np.float32), (107, 80), interpolation=cv2.INTER_AREA) > 0.5
    assert lawn[truly].mean() > lawn[~truly].mean()  # the map is where the lawn is
    model = ws.load_segmenter("models/segmenter", device="cpu")
    np.testing.assert_array_equal(model.predict(image), found["ids"])
    classes = ws.Classes({"lawn": ["lawn", "grass"], "curb": ["curb"]})
    assert float(answer.output) == ws.evaluate(found["ids"], truth, classes).miou > 0.6

    session = onnxruntime.InferenceSession("segmenter.onnx", providers=["CPUExecutionProvider"])
    for picture in (image, image[:101, 3:40], image[:1, :1]):
        ids, probabilities = session.run(None, {"image": picture[None]})
        expected = model.probabilities(picture)
        np.testing.assert_allclose(probabilities[0], expected, atol=2e-4)
        first, second = np.sort(expected, axis=0)[[-1, -2]]
        clear = first - second > 1e-3
        np.testing.assert_array_equal(ids[0][clear], model.predict(picture)[clear])
