"""A copy of the package with one parameter more in each section of params.yaml, and what the stages make of it.

Each parameter is added in two places: a line of the shipped params.yaml, and the room that uses it, which is a field of
its params.py and the function that reads the field. All are numbers from 0 to 1.

    python -m tests.execution.one_more    # with the copy in front of the path, in an empty folder
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMENT = "  # one more"


@dataclass(frozen=True)
class Parameter:
    """A parameter that is added.

    key: its dotted name. stage: that uses it. default, other: two values that make a difference. line: of params.yaml,
    before which it stands. owner: the dataclass of the room. file: of the room,
    in which `old` becomes `new`.
    """

    key: str
    stage: str
    default: float
    other: float
    line: str
    room: str
    owner: str
    file: str
    old: str
    new: str

    @property
    def name(self) -> str:
        """The last part of the dotted name."""
        return self.key.rpartition(".")[2]


ONE_MORE = (
    Parameter(
        "clip.dimming", "label", 0.1, 0.5, "  model: wildseg-tiny", "encoders", "Clip", "clip.py",
        "    return load(params.model, params.pretrained, device=device, root=root)\n",
        "    from dataclasses import replace\n\n"
        "    model = load(params.model, params.pretrained, device=device, root=root)\n"
        "    return replace(model, mean=[value * (1 - params.dimming) for value in model.mean])\n",
    ),
    Parameter(
        "extract.extra_test", "extract", 0.1, 0.4, "  method: absdiff", "frames", "Extract", "split.py",
        "val=extract.val, test=extract.test, stretch_s",
        "val=extract.val, test=extract.test + extract.extra_test, stretch_s",
    ),
    Parameter(
        "label.margin", "label", 0.5, 1.0, "  method: clip", "labels", "Label", "decide.py",
        "    return decide(scores, class_names, natural, label.threshold, label.fallback, relative=relative)\n",
        "    present = decide(scores, class_names, natural, label.threshold, label.fallback, relative=relative)\n"
        "    return present & (scores >= label.margin * scores.max(1, keepdims=True))\n",
    ),
    Parameter(
        "cam.contrast", "cam.stage", 0.5, 1.0, "  method: gradcam", "cam", "Cam", "engine.py",
        "    maps = normalise(config.method.cam(trace, **config.options))\n",
        "    maps = normalise(config.method.cam(trace, **config.options)) ** (1 + config.cam.contrast)\n",
    ),
    Parameter(
        "cam.caa.keep", "cam.stage", 0.25, 0.75, "    layers: 8\n    skip_last", "cam", "Caa", "affinity.py",
        "    return spread(maps, patches, boxes(maps, caa.box, caa.exclusive_box_ends), caa.power)\n",
        "    spread_maps = spread(maps, patches, boxes(maps, caa.box, caa.exclusive_box_ends), caa.power)\n"
        "    return caa.keep * maps + (1 - caa.keep) * spread_maps\n",
    ),
    Parameter(
        "crf.floor", "crf", 0.3, 0.9, "  iterations: 5", "crf", "Crf", "masks.py",
        "    large = upsample(maps, image.shape[:2])",
        "    large = upsample(maps * (maps >= crf.floor), image.shape[:2])",
    ),
    Parameter(
        "weak.floor", "weak", 0.1, 0.7, "  points: 5", "crf", "Weak", "weak/frame.py",
        "    maps = stretch(upsample(grid, shape))",
        "    maps = stretch(upsample(grid * (grid >= weak.floor), shape))",
    ),
    Parameter(
        "train.warmup", "train.stage", 0.05, 0.5, "  crop: 128", "segment", "Train", "fit.py",
        "weight_decay=self.train.weight_decay)",
        "weight_decay=self.train.weight_decay, warmup=self.train.warmup)",
    ),
    Parameter(
        "eval.blank", "eval.stage", 0.25, 0.75, "  pictures: 8                   # frames shown in metrics/eval",
        "segment", "Eval", "predict.py",
        "    return predictor.predict(images, params.scales, params.flip)\n",
        "    for ids in predictor.predict(images, params.scales, params.flip):\n"
        "        ids[: round(params.blank * len(ids))] = 0\n"
        "        yield ids\n",
    ),
)  # fmt: skip


# The copy ------------------------------------------------------------------------------------------------------------


def copy(source: Path) -> None:
    """Copy the package below the folder `source` and add all parameters."""
    package = source / "wildseg"
    shutil.copytree(ROOT / "src" / "wildseg", package, ignore=shutil.ignore_patterns("__pycache__"))
    for one in ONE_MORE:
        _substitute(package / one.room / one.file, one.old, one.new)
        _add_field(package / one.room / "params.py", one.owner, one.name)
        indent = one.line[: len(one.line) - len(one.line.lstrip())]
        added = f"{indent}{one.name}: {one.default}{COMMENT}\n"
        _substitute(package / "execution" / "params.yaml", one.line, added + one.line)


def changed_files(source: Path) -> set[str]:
    """Return which files of the copy differ from those of the package."""
    package = source / "wildseg"
    files = [path.relative_to(package) for path in package.rglob("*") if path.is_file()]
    return {str(path) for path in files if (package / path).read_bytes() != (ROOT / "src/wildseg" / path).read_bytes()}


def _substitute(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path}: {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def _add_field(path: Path, owner: str, name: str) -> None:
    text = path.read_text(encoding="utf-8")
    (found,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == owner)
    first = next(node.lineno for node in found.body if isinstance(node, ast.AnnAssign))
    lines = text.splitlines(keepends=True)
    path.write_text("".join([*lines[: first - 1], f"    {name}: Share\n", *lines[first - 1 :]]), encoding="utf-8")


# In the copy ---------------------------------------------------------------------------------------------------------


def main() -> None:
    """Print what is read of each parameter, and what its stage leaves with two values of it, as JSON."""
    import numpy as np

    from wildseg.execution import params

    values = params.load(ROOT / "params.yaml")
    report: dict[str, Any] = {"read": {one.key: _read(values, one.key) for one in ONE_MORE}}
    report["lacking"] = {one.key: _lacking(one) for one in ONE_MORE}
    report["refused"] = {one.key: [*_refused(one)] for one in ONE_MORE}
    with contextlib.redirect_stdout(sys.stderr):
        report["outputs"] = _outputs(_small(values))
        report["api"] = {name: bool(np.all(same)) for name, same in _api(_small(values)).items()}
    print(json.dumps(report))


def _read(values: Any, key: str) -> Any:  # noqa: ANN401
    for name in key.split("."):
        values = getattr(values, name)
    return values


def _nested(key: str, value: object) -> dict[str, Any]:
    for name in reversed(key.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def _lacking(one: Parameter) -> list[str]:
    """Return what is said of a params.yaml that lacks this parameter alone."""
    from wildseg.core import yaml_files
    from wildseg.execution import defaults, params

    content: Any = yaml_files.load(defaults.SHIPPED)
    *parents, name = one.key.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    del section[name]
    said: list[str] = []
    params.parse(content, said.append)
    return said


def _refused(one: Parameter) -> Any:  # noqa: ANN401
    """Yield the line on a value above the limit, on one of another type, and on the name less its last letter."""
    from wildseg.core.errors import ParamsError
    from wildseg.execution import params

    for key, value in ((one.key, 2), (one.key, "low"), (one.key[:-1], 0.5)):
        try:
            params.parse({"classes": {"lawn": "lawn"}, **_nested(key, value)})
        except ParamsError as error:
            yield str(error)


def _small(values: Any) -> Any:  # noqa: ANN401
    """Return parameters of a run of seconds over a few photos."""
    from tests.stages import tiny_run

    return replace(
        values,
        classes=tiny_run.CLASSES,
        background=("a wall",),
        extract=replace(values.extract, source="data/photos"),
        label=replace(values.label, fallback="argmax"),
        cam=replace(values.cam, refine="caa", scales=(1.0,), caa=replace(values.cam.caa, layers=2)),
        weak=replace(values.weak, pictures=1),
        train=replace(
            values.train, encoder="resnet18", options={"unet": tiny_run.OPTIONS}, steps=3, batch_size=2, crop=16
        ),
        eval=replace(values.eval, pictures=1),
    )


def _outputs(values: Any) -> dict[str, list[str]]:  # noqa: ANN401
    """Return by parameter the digests of all outputs: with its default, with the other value, and with its default."""
    from PIL import Image

    from tests.encoders.models import noise
    from wildseg.artifacts.project import Artifacts
    from wildseg.execution.runtime import Runtime

    root = Path.cwd()
    (root / "data/photos").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "models/tiny_clip").symlink_to(ROOT / "models/tiny_clip")
    for number in range(6):
        Image.fromarray(noise((48, 64), number)).save(root / f"data/photos/{number}.png")
    found = {}
    for stage in ("extract", "label", "cam.stage", "crf", "weak", "train.stage", "eval.stage"):
        run = import_module(f"wildseg.stages.{stage}").run
        for one in [one for one in ONE_MORE if one.stage == stage]:
            digests = []
            for value in (one.default, one.other, one.default):
                run(_with(values, one.key.split("."), value), Artifacts(root), Runtime(1, "cpu"))
                digests.append(_digest(root))
            found[one.key] = digests
    return found


def _with(values: Any, names: list[str], value: float) -> Any:  # noqa: ANN401
    name, *rest = names
    return replace(values, **{name: _with(getattr(values, name), rest, value) if rest else value})


def _digest(root: Path) -> str:
    """Return the digest of all outputs; records of runs, which are none, differ between runs of one result."""
    whole = hashlib.sha256()
    records = root / "metrics/report/runs"
    for path in sorted(path for name in ("data", "models", "metrics") for path in (root / name).rglob("*.*")):
        if path.is_file() and path.parent != records:
            whole.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return whole.hexdigest()


def _api(values: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Return by stage where the public API and what the stage left of a frame, both by defaults, are the same."""
    import wildseg as ws
    from wildseg.artifacts.project import Artifacts

    artifacts, classes = Artifacts(Path.cwd()), values.classes
    frame = artifacts.load_frames()[0].name
    image, present = artifacts.load_image(frame), artifacts.load_labels(classes.names)[frame]
    clip = ws.load_clip(values.clip.model, values.clip.pretrained, device="cpu")
    clip = replace(clip, mean=[value * (1 - values.clip.dimming) for value in clip.mean])
    background = values.background
    labels = ws.label_image(image, classes, clip, background=background, fallback="argmax")
    _, maps = artifacts.load_maps(frame)
    found = ws.activation_maps(
        image, present, classes, clip, background=background, refine="caa", scales=(1.0,), caa={"layers": 2}
    )
    mask, _ = ws.pseudo_mask(image, maps, present, background=background, priors=labels.priors)
    return {"label": labels.present == present, "cam": found == maps, "crf": mask == artifacts.load_mask(frame)}


if __name__ == "__main__":
    main()
