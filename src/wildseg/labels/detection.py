"""What detectors have in common: the question, what is done with boxes afterwards, and labels from boxes.

A detector is a file in `labels/detectors` with ``load(model, device) -> Detect``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import ops

from wildseg.core.errors import ModelError, WildsegError
from wildseg.encoders.downloads import hub_file, hub_folder, short

# From a frame (H, W, 3) uint8 RGB, the phrases of each class and the lowest score to boxes (m, 6) float64: x0, y0, x1,
# y1 in pixels of the frame, the id of the class, from 1, a score in [0, 1]; neither cut off at the frame nor thinned.
Detect = Callable[[np.ndarray, Sequence[Sequence[str]], float], np.ndarray]


def postprocess(boxes: np.ndarray, size: tuple[int, int], iou: float) -> np.ndarray:
    """Cut boxes (m, 6) off at the frame, drop empty ones and those that a better one overlaps; the best come first.

    Args:
        boxes: x0, y0, x1, y1 in pixels, id, score.
        size: (W, H).
        iou: of two boxes that overlap by more than this, of whatever classes, the one of the lower score goes.
    """
    boxes = boxes.copy()
    boxes[:, 0:4:2] = boxes[:, 0:4:2].clip(0, size[0])
    boxes[:, 1:4:2] = boxes[:, 1:4:2].clip(0, size[1])
    boxes = boxes[(boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])]
    return boxes[ops.nms(torch.from_numpy(boxes[:, :4]), torch.from_numpy(boxes[:, 5]), iou).numpy()]


def present(boxes: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Return which classes have a box whose score reaches the class's threshold: (K,) bool."""
    best = np.zeros(len(thresholds))
    np.maximum.at(best, boxes[:, 4].astype(int) - 1, boxes[:, 5])
    return np.isin(np.arange(len(thresholds)) + 1, boxes[:, 4]) & (best >= np.asarray(thresholds))


def load_network(kind: Any, model: str, device: str) -> Any:  # noqa: ANN401
    """Load the weights of a network of transformers' class `kind`, all of them, from safetensors alone.

    Raises:
        ValueError: some are missing, which would be filled in at random.
        Exception: what transformers raises.
    """
    network, report = kind.from_pretrained(model, use_safetensors=True, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{len(missing)} tensors are missing, such as {missing[0]}")
    return network.to(torch.device(device)).eval()


@contextmanager
def as_model_error(model: str, expected: str) -> Iterator[None]:
    """Turn whatever a library raises for weights that it cannot use into one line that says what was `expected`.

    Raises:
        ModelError: that line.
    """
    try:
        yield
    except WildsegError:
        raise
    except Exception as error:  # transformers, tokenizers, safetensors and ONNX each raise their own kinds
        raise ModelError(f"{model}: expected {expected} ({short(str(error), 200)})") from error


@contextmanager
def fetched_model(model: str, name: str, kind: Any) -> Iterator[str]:  # noqa: ANN401
    """Look whether `model` is of transformers' class `kind`, fetch the rest of it, and keep its readers quiet.

    Yields:
        The folder that holds it.

    Raises:
        ModelError: one line for whatever is wrong with it, as `as_model_error` has it.
    """
    expected = f"a folder, or the name on the model hub, of {name} with weights as safetensors"
    what, instead = f"{model}: expected {expected}; there is no such folder here, and it", "give a folder"
    here = Path(model).is_dir()
    with as_model_error(model, expected), _quiet():
        config = model if here else str(hub_file(what, model, ["config.json"], None, instead, ()).parent)
        known = kind.config_class.get_config_dict(config)[0].get("model_type")
        if known != kind.config_class.model_type:
            raise ValueError(f"its config is of {known!r}")
        yield model if here else str(hub_folder(what, model, instead))


@contextmanager
def _quiet() -> Iterator[None]:
    # Reports of hundreds of lines, and retries, would bury the one line that matters.
    from transformers.utils import logging as verbosity

    hub, level, bars = (
        logging.getLogger("huggingface_hub"),
        verbosity.get_verbosity(),
        verbosity.is_progress_bar_enabled(),
    )
    before = hub.level
    hub.setLevel(logging.ERROR)
    verbosity.set_verbosity_error()
    verbosity.disable_progress_bar()
    try:
        yield
    finally:
        hub.setLevel(before)
        verbosity.set_verbosity(level)
        if bars:
            verbosity.enable_progress_bar()
