"""YOLO-World: what is refused; and where its package is installed, a tiny one of random weights, run by hand."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from wildseg.core.errors import ModelError
from wildseg.methods.detectors import yolo_world

PHRASES = (("lawn", "Grass"), ("road",), ("red brick",))
VOCABULARY = ("wall", "grass", "road", "red brick", "lawn")  # the first is nobody's, and competes
SIDE = 64

needs_packages = pytest.mark.skipif(
    not all(find_spec(package) for package in (*yolo_world.PACKAGES, "onnxslim")),
    reason="ultralytics, whose licence is AGPL-3.0, is installed by those who want it",
)


def test_words_of_the_vocabulary_are_those_of_classes_or_compete() -> None:
    vocabulary = dict(enumerate(VOCABULARY))
    assert yolo_world.classes_of(vocabulary, PHRASES).tolist() == [0, 1, 2, 3, 1]
    assert yolo_world.classes_of({0: "road"}, (("road",), ("lawn", "road"))[:1]).tolist() == [1]


def test_a_class_that_the_vocabulary_lacks_is_told() -> None:
    with pytest.raises(ModelError) as caught:
        yolo_world.classes_of({0: "lawn", 1: "gravel"}, PHRASES)
    line = "found none of 2 classes (such as 'road') in: lawn, gravel; export it with set_classes"
    assert line in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.onnx", "folder.onnx"])
def test_a_file_that_is_not_there_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match=rf"{name}: expected a file of YOLO-World exported as ONNX, found none$"):
        yolo_world.load(str(tmp_path / name), "cpu")


@pytest.mark.parametrize("name", ["yolov8s-worldv2.pt", "google/owlv2"])
def test_what_is_no_export_is_told_and_not_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "yolov8s-worldv2.pt").write_bytes(b"pickle")
    with pytest.raises(
        ModelError, match=r"expected a file of YOLO-World exported as ONNX \(\.onnx\), because .*pickles"
    ):
        yolo_world.load(str(tmp_path / name), "cpu")


def test_packages_that_are_missing_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yolo_world, "PACKAGES", ("ultralytics_that_is_nowhere", "numpy"))
    (tmp_path / "a.onnx").write_bytes(b"")
    line = (
        r"not installed \(ultralytics_that_is_nowhere\); pip install ultralytics_that_is_nowhere numpy \(.*AGPL-3\.0\)"
    )
    with pytest.raises(ModelError, match=line):
        yolo_world.load(str(tmp_path / "a.onnx"), "cpu")


# A real one ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO-World v2 of 0.7 M random weights, with random vectors in place of what CLIP says of the vocabulary."""
    folder = tmp_path_factory.mktemp("yolo")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in (yolo_world.QUIET | {"YOLO_CONFIG_DIR": str(folder)}).items():
            patch.setenv(variable, value)
        import ultralytics

        layout = Path(ultralytics.__file__).parent / "cfg" / "models" / "v8" / "yolov8-worldv2.yaml"
        small = layout.read_text().replace("n: [0.33, 0.25, 1024]", "n: [0.33, 0.125, 256]")
        (folder / "yolov8n-worldv2.yaml").write_text(small)
        patch.chdir(folder)
        torch.manual_seed(0)
        model = ultralytics.YOLOWorld("yolov8n-worldv2.yaml")
        model.model.names = dict(enumerate(VOCABULARY))
        vectors = 20 * torch.nn.functional.normalize(torch.randn(1, len(VOCABULARY), 512), dim=-1)
        model.model.txt_feats = vectors  # longer than CLIP's, so that scores differ
        model.model.model[-1].nc = len(VOCABULARY)  # as set_classes does
        return folder / model.export(format="onnx", imgsz=SIDE)


def by_hand(path: Path, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (n, 4) x0, y0, x1, y1 in pixels of the frame, the best word (n,) and its score (n,)."""
    import onnxruntime

    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    inner = round(width * scale), round(height * scale)
    left, top = round((SIDE - inner[0]) / 2 - 0.1), round((SIDE - inner[1]) / 2 - 0.1)
    square = np.full((SIDE, SIDE, 3), 114, np.uint8)
    shown = image if inner == (width, height) else cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    square[top : top + inner[1], left : left + inner[0]] = shown
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = session.run(None, {"images": square.transpose(2, 0, 1)[None].astype(np.float32) / 255})[0][0].T
    centre, side, scores = rows[:, :2], rows[:, 2:4], rows[:, 4:]
    corners = (np.hstack([centre - side / 2, centre + side / 2]) - np.tile([left, top], 2)) / scale
    return corners.clip(0, [width, height] * 2), scores.argmax(1), scores.max(1)


@needs_packages
@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (64, 64)])
def test_boxes_are_those_of_the_exported_network(
    exported: Path, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> Any:  # noqa: ANN401
        raise AssertionError("a pickle was read")

    for reader in ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler"):
        monkeypatch.setattr(reader, never)
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found = yolo_world.load(str(exported), "cpu")(image, PHRASES, 0.0)
    corners, words, scores = by_hand(exported, image)
    ids = np.array([0, 1, 2, 3, 1])[words]
    kept = ids > 0
    assert 0 < kept.sum() <= len(kept)
    expected = np.column_stack([corners, ids, scores])[kept]
    assert len(found) == len(expected)
    assert len(set(expected[:, 4])) > 1
    distance = np.abs(found[:, None] - expected[None]) / [0.05, 0.05, 0.05, 0.05, 0.5, 1e-4]
    pairs = linear_sum_assignment(distance.max(2))  # in whatever order they come
    assert distance[pairs].max() < 1


@needs_packages
def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text(json.dumps({"no": "network"}))
    with pytest.raises(
        ModelError, match=r"a\.onnx: expected a YOLO-World that ultralytics exported as ONNX \("
    ) as caught:
        yolo_world.load(str(tmp_path / "a.onnx"), "cpu")
    assert "\n" not in str(caught.value)
