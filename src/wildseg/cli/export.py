"""`wildseg export`: the trained model as a file of another program."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import WildsegError
from wildseg.core.files import save_json
from wildseg.exchange.label_info import label_info
from wildseg.execution.params import own_colours
from wildseg.execution.runtime import Runtime, torch_device
from wildseg.methods import segmenter
from wildseg.segment import onnx_check

FRAMES = 8  # that a comparison runs on, evenly chosen


def onnx(artifacts: Artifacts, runtime: Runtime, model: Path, into: Path, *, costmap: bool, check: bool) -> None:
    """Write a trained model as ONNX and print what was written.

    Args:
        artifacts: of the project, whose key frames a comparison runs on.
        runtime: the device of the comparison.
        model: the folder of the trained model.
        into: the file to write.
        costmap: also the output ``confidence``, and the LabelInfo beside the file.
        check: compare the file with the model.

    Raises:
        WildsegError: no model, packages that are missing, a network that ONNX cannot express, or a file that differs.
    """
    if into.suffix != ".onnx":
        raise WildsegError(f"--into: expected the name of a file that ends in .onnx, found {str(into)!r}")
    images = _key_frames(artifacts) if check else []
    loaded = segmenter.load(model, torch_device(runtime.device))
    chosen = own_colours(artifacts.root / "params.yaml")  # the model may be of other classes
    colours = {name: colour for name, colour in chosen.items() if name in loaded.class_names[1:]}
    loaded.export_onnx(into, confidence=costmap, colours=colours)
    print(f"export: {into}, {into.stat().st_size / 1e6:.1f} MB, {loaded.config['architecture']} with "
          f"{loaded.config['encoder']}, {len(loaded.class_names) - 1} classes")  # fmt: skip
    if costmap:
        path = into.with_suffix(".label_info.json")
        save_json(path, label_info(loaded.class_names, loaded.config["ids"]))
        print(f"export: {path}, the vision_msgs/LabelInfo of the output ids (mono8)")
    if check:
        print(f"export: on {len(images)} key frames {onnx_check.compare(loaded, into, images)}")


def _key_frames(artifacts: Artifacts) -> list[np.ndarray]:
    frames = artifacts.load_frames()
    chosen = sorted({round(position) for position in np.linspace(0, len(frames) - 1, FRAMES)})
    return [artifacts.load_image(frames[index].name) for index in chosen]
