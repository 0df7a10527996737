"""Before the first stage: whether the networks of later stages exist, are available and fit, hours before they run.

What is published is fetched, and what lies in a file is loaded, once, by a process of its own, since a stage that needs
no network shall not wait for its libraries. A check that passed is recorded in ``.wildseg/preflight.json`` under all
that it depends on, so that later stages and runs read one small file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from wildseg.core import lookup
from wildseg.core.errors import WildsegError, check_regular
from wildseg.core.files import atomic
from wildseg.core.progress import note
from wildseg.core.project_root import project_root
from wildseg.encoders.weights import config_path, shared_config_path
from wildseg.execution import children, result_store
from wildseg.execution.params import Params, load

STAGES = ("extract", "label", "cam", "crf")  # those after which others come that need a network
LIBRARIES = ("open_clip_torch", "segmentation-models-pytorch", "timm", "torch", "transformers")
# What the package ships needs no check.
CLIP = {"model": "wildseg-tiny", "pretrained": "models/tiny_clip/model.safetensors"}
ENCODER = ("tu-regnetx_002", None, "unet", {"encoder_depth": 4, "decoder_channels": [32, 24, 16, 8]})
REMEMBERED = 20  # records kept
SECONDS = 3.0  # after which a line names what takes its time


def run(params: Params, root: Path, stage: str) -> None:
    """Check once what the stages from `stage` on need, and print a line for what a person should know.

    Raises:
        WildsegError: an encoder, its weights, the image-text model, or what the network of a trained CAM method is made
            from do not exist, cannot be had or do not fit.
    """
    wanted = _wanted(params, root, stage)
    if not wanted:
        return
    path = project_root(root) / ".wildseg" / "preflight.json"
    known = _remembered(path)
    keys = {name: result_store.key_of([name, what, result_store.versions(*LIBRARIES)]) for name, what in wanted.items()}
    todo = [name for name, key in keys.items() if not _still(known.get(key))]
    for name in todo:
        known[keys[name]] = _check_in_process(name, params, root)
        note("preflight", known[keys[name]]["notes"])
        _remember(path, known)


def check_all(params: Params, root: Path) -> dict[str, str | None]:
    """Check by the name of each network that a whole run needs: what is wrong with it, None where nothing is.

    Nothing is remembered, and what went well once is checked again.
    """
    found: dict[str, str | None] = {}
    for name in _wanted(params, root, STAGES[0]):
        try:
            _check_in_process(name, params, root)
            found[name] = None
        except WildsegError as error:
            found[name] = str(error)
    return found


def _wanted(params: Params, root: Path, stage: str) -> dict[str, Any]:
    """Return by name what is to be checked before `stage`, as plain values that identify it."""
    clip, train = params.clip, params.train
    chosen = train.options.get(train.architecture, {})
    wanted: dict[str, Any] = {}
    model = result_store.fields_but(clip, "templates", "sharpest")
    if stage != "crf" and model != CLIP:
        weights = root / clip.pretrained
        files = (weights, config_path(weights, clip.model), shared_config_path(weights))
        wanted["clip"] = [model, list(map(_state, files))]
    language = params.label.language
    if stage == "extract" and language.model and not language.server and _uses_language(params):
        wanted["language"] = [language.model, _state(root / language.model)]
    encoder = (train.encoder, train.encoder_weights, train.architecture, dict(chosen))
    if encoder != ENCODER:
        named = [root / one for one in chosen.values() if isinstance(one, str)]
        wanted["encoder"] = [*encoder, [_state(path) for path in (*_beside(train.encoder_weights, root), *named)]]
    if stage in ("extract", "label") and "network" in lookup.needs("methods.cam", params.cam.method):
        wanted["map network"] = _map_network(params, root)
    return wanted


def _map_network(params: Params, root: Path) -> list[Any]:
    """Return what identifies the network of a trained CAM method, files and folders that its options name included."""
    cam, options = params.cam, params.cam.method_options
    named = [value for value in options.values() if isinstance(value, str) and value]
    files = [path for value in named for path in (root / value, *_beside(value, root))]
    return [cam.method, cam.refine, options, params.classes.phrases, [_state(path) for path in files]]


def _uses_language(params: Params) -> bool:
    return "language" in lookup.needs("methods.labels", params.label.method)


def _beside(weights: str | None, root: Path) -> list[Path]:
    if not weights or not weights.endswith(".safetensors"):
        return []
    file = root / weights
    return [file, file.with_suffix(".json"), file.with_name("config.json"), file.with_name("preprocessor_config.json")]


def _state(path: Path) -> list[Any] | None:
    """Return what identifies a file without reading it; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _check_in_process(name: str, params: Params, root: Path) -> dict[str, Any]:
    """Check one thing of the project in `root` by a process of its own; return the record to keep."""
    context = children.context()
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_send_check, args=(name, str(root.resolve()), sending))
    child.start()
    sending.close()
    try:
        if not receiving.poll(SECONDS):
            note("preflight", [f"checking once that {named(name, params)} is available and fits"])
        record = json.loads(receiving.recv_bytes())
    except EOFError:  # no library, no memory: whoever needs it will say what is wrong here
        record = {"notes": [], "files": None}
    finally:
        child.kill()  # it has nothing to tidy up
        child.join()
    if "error" in record:
        raise WildsegError(record["error"])
    return dict(record)


def named(name: str, params: Params) -> str:
    """Return how params.yaml names what `check_all` checks under a name."""
    if name == "clip":
        return f"clip.model {params.clip.model} with clip.pretrained {params.clip.pretrained}"
    if name == "language":
        return f"label.language.model {params.label.language.model}"
    if name == "map network":
        return f"the network of cam.method {params.cam.method}"
    weights = params.train.encoder_weights
    return f"train.encoder {params.train.encoder}" + (f" with the weights {weights}" if weights else "")


# In a process of its own ---------------------------------------------------------------------------------------------


def _send_check(name: str, root: str, sending: Connection) -> None:
    os.chdir(root)  # a fresh process begins where its parent was when that began
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # libraries may talk
        answer = check(name, load(), Path())
    sending.send_bytes(json.dumps(answer).encode())


def _check_clip(params: Params, root: Path) -> dict[str, Any]:
    from wildseg.core.errors import ModelError
    from wildseg.encoders import clip

    model = clip.load_chosen(params.clip, root=root)
    notes = []
    try:
        model.tower()
    except ModelError as error:  # labels need none
        notes.append(f"the stage cam will refuse this model: {error}")
    return {"notes": notes, "files": _fetched()}


def _check_language(params: Params, root: Path) -> dict[str, Any]:
    from wildseg.labels.language.local import model_folder

    model_folder(str(params.label.language.model), root)
    return {"notes": [], "files": _fetched()}


def _check_encoder(params: Params, root: Path) -> dict[str, Any]:
    from wildseg.segment import architecture

    train = params.train
    weights = train.encoder_weights
    if weights and weights.endswith(".safetensors"):
        weights = str(root / weights)
    module = lookup.load("methods.architectures", train.architecture, "train.architecture")
    build = architecture.builder(module, params.classes.phrases, range(len(params.classes) + 1), root)
    build(len(params.classes), train.encoder, weights, **train.options.get(train.architecture, {}))
    architecture.norm_of(module, replace(train, encoder_weights=weights))
    return {"notes": [], "files": _fetched()}


def _check_map_network(params: Params, root: Path) -> dict[str, Any]:
    import numpy as np

    from wildseg.artifacts.prompts import PromptSet
    from wildseg.stages.cam.stage import check_refinement
    from wildseg.stages.cam.task import CamTask, build_network
    from wildseg.training.context import TrainContext

    task = CamTask(root, params.cam, params.clip, params.classes, PromptSet((), ()))
    check_refinement(task)
    # As for one training frame: for none, files that a training begins with are not read.
    build_network(task, np.ones((1, len(params.classes)), bool), TrainContext())
    return {"notes": [], "files": _fetched()}


def _fetched() -> list[str]:
    from wildseg.encoders import downloads

    return sorted(map(str, downloads.USED))


CHECKS = {
    "clip": _check_clip,
    "language": _check_language,
    "encoder": _check_encoder,
    "map network": _check_map_network,
}


def check(name: str, params: Params, root: Path) -> dict[str, Any]:
    """Check one thing that `params` name; return the record to keep, or ``{"error": a line}``."""
    try:
        return CHECKS[name](params, root)
    except WildsegError as error:
        return {"error": str(error)}


# What is remembered --------------------------------------------------------------------------------------------------


def _still(record: Any) -> bool:  # noqa: ANN401
    """Return whether what went well once still would: the files that were fetched then are there."""
    files = record.get("files") if isinstance(record, dict) else None
    return isinstance(files, list) and all(isinstance(file, str) and os.path.exists(file) for file in files)  # noqa: PTH110


def _remembered(path: Path) -> dict[str, Any]:
    try:
        check_regular(path)
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(path: Path, known: Mapping[str, Any]) -> None:
    # A folder that cannot be written to costs the next stage some seconds.
    with suppress(OSError), atomic(path) as temporary:
        temporary.write_text(json.dumps(dict(list(known.items())[-REMEMBERED:])))
