"""params.yaml as validated, frozen objects: the table of everything that changes a result.

There are no defaults here. A parameter that a params.yaml lacks has its value in the one that wildseg ships
(`wildseg.execution.defaults`), an option of a method the default of the method's signature.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wildseg.cam.params import Cam
from wildseg.core import colours, lookup, yaml_files
from wildseg.core.classes import Classes
from wildseg.core.errors import ParamsError, did_you_mean
from wildseg.core.limits import Seed
from wildseg.core.lookup import METHODS, Functions
from wildseg.core.schema import convert, read
from wildseg.crf.params import Crf, Weak
from wildseg.encoders.params import Clip
from wildseg.execution import defaults, renamed
from wildseg.frames.params import Extract
from wildseg.labels.params import Label
from wildseg.segment.params import Eval, Train

SHOWN = 8  # names of missing parameters in the line about them


@dataclass(frozen=True)
class Params:
    """All of params.yaml."""

    seed: Seed
    classes: Classes
    background: tuple[str, ...] | Literal["auto"]
    colours: dict[str, str]
    clip: Clip
    extract: Extract
    label: Label
    cam: Cam
    crf: Crf
    weak: Weak
    train: Train
    eval: Eval


def load(path: Path | str = "params.yaml", remark: Callable[[str], object] = lambda _: None) -> Params:
    """Read and check params.yaml; `remark` takes a line about old names, and one about keys that it lacks.

    Raises:
        ParamsError: the file is missing or not YAML, a key or value means nothing.
    """
    path = Path(path)
    try:
        content = yaml_files.load(path)
    except OSError as error:
        raise ParamsError(
            f"{path}: expected the parameters of the pipeline ({error}); run in the folder of dvc.yaml"
        ) from error
    return parse(content, remark)


def parse(content: object, remark: Callable[[str], object] = lambda _: None) -> Params:
    """Check the content of params.yaml, already read into plain mappings and lists.

    Missing keys have their defaults in what is returned, also the options of the chosen methods, so that a default that
    was written and one that was left out are the same to all that follows.

    Raises:
        ParamsError: a key or value means nothing.
    """
    olds = renamed.found(content)
    lacking: list[str] = []
    params = read(Params, renamed.with_new_names(content, olds), "", defaults.sections(), lacking)
    _check_methods(params)
    _check_consistency(params)
    if olds:
        remark(f"params.yaml: {renamed.line(olds)}")
    for section, chosen, folder, functions in _chosen(params):
        values = getattr(params, section)
        written = values.options.get(chosen, {})
        known = defaults.of_options(section, chosen, lookup.option_defaults(folder, chosen, functions))
        lacking += [
            f"{section}.options.{chosen}.{name}" for name in defaults.listed(section, chosen) if name not in written
        ]
        options = values.options | {chosen: written | {name: known[name] for name in known if name not in written}}
        params = replace(params, **{section: replace(values, options=options)})
    if lacking:
        shown = ", ".join(lacking[:SHOWN]) + (f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else "")
        remark(f"params.yaml lacks {shown}: defaults are used; 'wildseg init --update' writes them in")
    return params


def own_colours(path: Path | str = "params.yaml") -> dict[str, str]:
    """Return the colours that a person chose in params.yaml, by class; none where there is no such file.

    It is for commands that show a model's classes wherever the model came from: nothing else of the file is checked.

    Raises:
        ParamsError: the file is no YAML, or a colour means nothing.
    """
    content: Any = yaml_files.load(Path(path)) if os.path.lexists(path) else {}
    written = content.get("colours") if isinstance(content, Mapping) else None
    if not written:
        return {}
    found: dict[str, str] = convert(dict[str, str], written, "colours")
    classes = content.get("classes")
    colours.check(found, [str(name) for name in classes] if isinstance(classes, Mapping) else list(found))
    return found


def signatures() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the defaults of the options of every method, by its section and name."""
    return {
        (section, method): lookup.option_defaults(folder, method, functions)
        for section, _, folder, functions in METHODS
        for method in lookup.available(folder)
    }


def _check_methods(params: Params) -> None:
    for section, key, folder, _ in METHODS:
        for name in lookup.named(getattr(getattr(params, section), key)):
            lookup.check(folder, name, f"{section}.{key}")
    params.cam.check()
    for section, method, options in _written_options(params):
        key = f"{section}.options"
        folder, functions = _kind_of(section, method, key)
        lookup.check_options(folder, method, functions, options, f"{key}.{method}")
    for section, chosen, folder, functions in _chosen(params):
        written = getattr(params, section).options.get(chosen, {})
        lookup.check_required(folder, chosen, functions, written, f"{section}.options.{chosen}")


def _chosen(params: Params) -> list[tuple[str, str, str, Functions]]:
    """Return section, name, folder and functions of every method in use."""
    return [
        (section, name, folder, functions)
        for section, key, folder, functions in METHODS
        for name in lookup.named(getattr(getattr(params, section), key))
    ]


def _written_options(params: Params) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    for section in dict.fromkeys(section for section, *_ in METHODS):
        for method, options in getattr(params, section).options.items():
            yield section, method, options


def _kind_of(section: str, method: str, key: str) -> tuple[str, Functions]:
    """Return the folder of a method of a section, and the functions that may have its options.

    A section may choose methods of several kinds, as `train` does; their options stand side by side, by their names.

    Raises:
        ParamsError: no kind has a method of this name.
    """
    kinds = {folder: functions for of, _, folder, functions in METHODS if of == section}
    known = {name: folder for folder in kinds for name in lookup.available(folder)}
    if method not in known:
        found = f"found {method!r}{did_you_mean(method, known)}"
        raise ParamsError(f"{key}: expected one of {', '.join(known)}; {found}")
    return known[method], kinds[known[method]]


def _check_consistency(params: Params) -> None:
    for section in (params.clip, params.extract, params.train):
        section.check()
    if not all(phrase.strip() for phrase in params.background):
        raise ParamsError(f"background: expected phrases, found an empty one in {list(params.background)}")
    colours.check(params.colours, params.classes.names)
    _check_held_out(params)
    threshold = params.label.threshold
    named: dict[str, Mapping[str, object]] = {"label.threshold": threshold if isinstance(threshold, dict) else {}}
    named["label.language.definitions"] = params.label.language.definitions
    for key, by_class in named.items():
        for name in by_class:
            if name not in params.classes.names:
                raise ParamsError(f"{key}.{name}: there is no such class{did_you_mean(name, params.classes.names)}")


def _check_held_out(params: Params) -> None:
    held_out, names = params.train.hold_out, params.classes.names
    for name in held_out:
        if name not in names:
            raise ParamsError(f"train.hold_out: there is no class {name!r}{did_you_mean(name, names)}")
    if len(set(held_out)) < len(held_out):
        raise ParamsError(f"train.hold_out: expected each class once, found {list(held_out)}")
    if len(held_out) == len(names):
        raise ParamsError(f"train.hold_out: expected some of the {len(names)} classes, found all, and none to train on")
