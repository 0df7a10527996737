"""YOLO-World (Cheng et al., CVPR 2024): a fast detector whose vocabulary was fixed when it was exported as ONNX.

It runs in its own package, ultralytics, which whoever wants it installs: its licence is AGPL-3.0, so nothing here
depends on it. Its own weights (``.pt``) are pickles, which may run any program when they are read; an export is none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from wildseg.core.errors import ModelError
from wildseg.labels.detection import Detect, as_model_error

PACKAGES = ("ultralytics", "onnx", "onnxruntime")
ALL = 30_000  # boxes of a frame: more than there are
# It would fetch packages and files, ask a server whether it is online, and print a line for each frame.
QUIET = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}


def load(model: str, device: str) -> Detect:
    """Load a YOLO-World that ultralytics exported as ONNX, from a file.

    Raises:
        ModelError: there is none, it is none of ultralytics' exports, or a package is missing.
    """
    if not model.endswith(".onnx"):
        raise ModelError(
            f"{model}: expected a file of YOLO-World exported as ONNX (.onnx), because weights as .pt are pickles, "
            "which are not read here; docs/methods.md has the export"
        )
    if not Path(model).is_file():
        raise ModelError(f"{model}: expected a file of YOLO-World exported as ONNX, found none")
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        raise ModelError(
            f"yolo_world: expected packages that are not installed ({', '.join(missing)}); pip install "
            f"{' '.join(PACKAGES)} (ultralytics is licensed under AGPL-3.0)"
        )
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    from ultralytics import YOLO

    with as_model_error(model, "a YOLO-World that ultralytics exported as ONNX"):
        network = YOLO(model, task="detect")
        vocabulary: Mapping[int, str] = network.names

    def detect(image: np.ndarray, phrases: Sequence[Sequence[str]], threshold: float) -> np.ndarray:
        ids = classes_of(vocabulary, phrases)
        blue_first = np.ascontiguousarray(image[..., ::-1])
        found = network.predict(blue_first, conf=threshold, iou=1.0, max_det=ALL, device=device, verbose=False)[0]
        rows = found.boxes.data.cpu().double().numpy()  # x0, y0, x1, y1, score, word
        boxes = np.column_stack([rows[:, :4], ids[rows[:, 5].astype(int)], rows[:, 4]])
        return boxes[boxes[:, 4] > 0]

    return detect


def classes_of(vocabulary: Mapping[int, str], phrases: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the class of each word of the vocabulary, from 1; 0 of one that is no class's phrase and only competes.

    Raises:
        ModelError: a class has no phrase in the vocabulary, and so could never be found.
    """
    owner = {phrase.lower(): index for index, own in reversed([*enumerate(phrases, 1)]) for phrase in own}
    ids = np.array([owner.get(vocabulary[number].lower(), 0) for number in sorted(vocabulary)], int)
    if lost := sorted(set(range(1, len(phrases) + 1)) - set(ids.tolist())):
        known = ", ".join(vocabulary[number] for number in sorted(vocabulary))
        raise ModelError(
            f"yolo_world: expected a phrase of each class in the exported vocabulary, found none of {len(lost)} "
            f"classes (such as {' or '.join(map(repr, phrases[lost[0] - 1]))}) in: "
            f"{known if len(known) <= 200 else f'{known[:197]}...'}; export it with set_classes of the phrases in "
            "params.yaml"
        )
    return ids
