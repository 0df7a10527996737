"""`wildseg explain`: explains the trained model's predictions of some frames, on a sheet for each frame and class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.unpack import outside_of_data
from wildseg.core.errors import DataError, WildsegError, did_you_mean
from wildseg.core.files import atomic
from wildseg.core.names import plain
from wildseg.execution.params import own_colours
from wildseg.execution.runtime import Runtime, torch_device
from wildseg.frames.image import shrink
from wildseg.frames.photos import read_photo
from wildseg.frames.read_stats import DecodeError
from wildseg.stages.explainer import Explainer, Explanation, ExplanationRequest


@dataclass(frozen=True)
class Output:
    """The destination of sheets: ``<into>/<frame>/<class>.png``, and with `maps` the arrays beside them, as .npz."""

    into: Path
    maps: bool = False


def show(
    artifacts: Artifacts,
    runtime: Runtime,
    frames: Sequence[str],
    classes: Sequence[str],
    request: ExplanationRequest,
    output: Output,
    max_side: int | None = None,
) -> None:
    """Write a sheet for each frame and class, and print its path.

    Args:
        artifacts: of the project whose model is explained.
        runtime: the device.
        frames: names of key frames, or image files.
        classes: by name.
        request: target pixels, layers and methods.
        output: the destination, outside of ``data``.
        max_side: frames are first shrunk to this longer side; None for no limit.

    Raises:
        WildsegError: there is no model yet, or no such frame, class, layer or pixel.
    """
    outside_of_data(artifacts, output.into)
    explainer = Explainer(artifacts, torch_device(runtime.device), own_colours(artifacts.root / "params.yaml"))
    classes = list(dict.fromkeys(classes))
    for name in classes:
        explainer.class_id(name)  # fails before any computation
    explainer.layers.chosen(request.layers)
    titles: dict[str, str] = {}
    for frame in dict.fromkeys(frames):
        title, image = find(artifacts, frame)
        image = shrink(image, max_side)
        if titles.setdefault(title, frame) != frame:
            raise WildsegError(f"{frame}: {titles[title]} has the same name, so that its sheets would be overwritten; "
                               "explain them one by one, with another --into")  # fmt: skip
        for name in classes:
            found = explainer.explain(title, image, name, request)
            path = output.into / plain(title) / f"{name}{_suffix(request)}.png"
            with atomic(path) as temporary:
                Image.fromarray(explainer.draw(found)).save(temporary)
            if output.maps:
                save_maps(found, path.with_suffix(".npz"))
            print(f"explain: {title}, {name}: {found.sheet.target}; see {path}")


def show_layers(artifacts: Artifacts, runtime: Runtime) -> None:
    """Print the layers that can be explained; a star marks the default ones.

    Raises:
        DataError: there is no model yet.
    """
    layers = Explainer(artifacts, torch_device(runtime.device)).layers
    width = max(len(layer.name) for layer in layers.all)
    for layer in layers.all:
        star = "*" if layer.name in layers.stages else " "
        print(f"{star} {layer.name:<{width}}  {layer.channels:>5} channels, stride {layer.stride:g}")


def find(artifacts: Artifacts, text: str) -> tuple[str, np.ndarray]:
    """Return the name and the image, (H, W, 3) uint8 RGB, of a file or of a key frame, loose or in a shard.

    Raises:
        DataError: there is neither, or it cannot be read.
    """
    path = Path(text)
    if path.is_file():
        try:
            return path.stem, read_photo(path)
        except DecodeError as error:
            raise DataError(f"{path}: expected an image: {error}") from error
    table = artifacts.frames_folder / "frames.csv"
    names = [frame.name for frame in artifacts.load_frames()] if table.exists() else []
    if text not in names:
        raise DataError(
            f"{text}: expected a key frame of {table} or an image file; there is neither{did_you_mean(text, names)}"
        )
    return text, artifacts.load_image(text)


def save_maps(explanation: Explanation, path: Path) -> None:
    """Write maps as .npz without objects.

    It holds ``maps`` float32 (methods, layers, H, W) in [0, 1], ``methods`` and ``layers`` (their names), ``region``
    float32 (H, W), ``prediction`` uint8 (H, W) and ``probability`` float32 (H, W) of the class.
    """
    sheet = explanation.sheet
    with atomic(path) as temporary:
        np.savez_compressed(
            temporary,
            maps=explanation.maps,
            methods=np.array(list(explanation.methods), np.str_),
            layers=np.array(list(explanation.layers), np.str_),
            region=sheet.region,
            prediction=sheet.prediction,
            probability=sheet.probability,
        )


def pixel(text: str) -> tuple[int, int]:
    """Return (x, y) of a text such as ``120,88``.

    Raises:
        WildsegError: it is something else.
    """
    x, y = _numbers("--pixel", "x,y", text)
    return x, y


def box(text: str) -> tuple[int, int, int, int]:
    """Return (x0, y0, x1, y1) of a text such as ``10,20,60,80``.

    Raises:
        WildsegError: it is something else.
    """
    x0, y0, x1, y1 = _numbers("--region", "x0,y0,x1,y1", text)
    return x0, y0, x1, y1


def _numbers(option: str, names: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != len(names.split(",")) or not all(re.fullmatch(r"-?[0-9]{1,9}", part) for part in parts):
        raise WildsegError(f"{option}: expected {names} as whole numbers of pixels; found {text!r}")
    return [int(part) for part in parts]


def _suffix(request: ExplanationRequest) -> str:
    if request.pixel is not None:
        return "-at-{}-{}".format(*request.pixel)
    if request.box is not None:
        return "-in-{}-{}-{}-{}".format(*request.box)
    return "-everywhere" if request.everywhere else ""
