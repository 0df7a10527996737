"""The record of the run that made a report: git commit, DVC experiment, methods, parameters that differ from defaults.

None of it is part of an output: it differs between runs with the same result, and what differs so would make DVC
record another output. It lies beside the page, under the page's digest, and is no output of the stage.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.project import Artifacts
from wildseg.core import yaml_files
from wildseg.core.classes import Classes
from wildseg.core.errors import ParamsError
from wildseg.core.lookup import METHODS
from wildseg.core.text import shorten
from wildseg.execution import params as parameters
from wildseg.execution.defaults import SHIPPED
from wildseg.tracking.provenance import dvc_tags, git_tags
from wildseg.tracking.values import flatten_params

if TYPE_CHECKING:
    from wildseg.execution.params import Params

LONGEST = 300  # letters of a value
NOT_SHOWN = (
    "classes.",
    "weak.",
)  # classes are listed by name; boxes, points and scribbles are made beside the pipeline
METHODS_SHOWN = (
    ("Labels", "label.method"),
    ("CLIP", "clip.model"),
    ("Maps", "cam.method"),
    ("Architecture", "train.architecture"),
)


def run_record(params: Params, artifacts: Artifacts) -> dict[str, Any]:
    """Return ``facts``, pairs of name and value, and ``changed``: parameter, value and default, as text."""
    tags = git_tags(artifacts.root) | dvc_tags(artifacts.root, ("eval",))
    dirty = " with uncommitted changes" if tags.get("git.dirty") == "true" else ""
    flat = flatten_params(params)
    facts = [
        ("Commit", f"{tags['git.commit'][:10]}{dirty}" if "git.commit" in tags else ""),
        ("Branch", tags.get("git.branch", "")),
        ("Experiment", tags.get("dvc.exp_name", "")),
        *((title, flat[key]) for title, key in METHODS_SHOWN),
    ]
    return {"facts": [fact for fact in facts if fact[1]], "changed": changed(params)}


def changed(params: Params) -> list[tuple[str, str, str]]:
    """Return the parameters that differ from those that wildseg ships: (name, value, default), shortened.

    Options are those of the methods in use. Of classes, names are compared, and phrases left out.
    """
    usual = _shipped(params)
    own, default = flatten_params(params), flatten_params(usual)
    shipped = flatten_params(parameters.load(SHIPPED))
    methods = {f"{section}.{key}" for section, key, *_ in METHODS}
    default |= {key: shipped[key] for key in methods if key in shipped}
    found = [
        (key, own.get(key, ""), default.get(key, ""))
        for key in {**own, **default}
        if own.get(key, "") != default.get(key, "") and not key.startswith(NOT_SHOWN)
    ]
    names = [_names(values.classes) for values in (params, usual)]
    rows = [*([("classes", *names)] if names[0] != names[1] else []), *found]
    return [(key, shorten(value, LONGEST), shorten(usual, LONGEST)) for key, value, usual in rows]


def _shipped(params: Params) -> Params:
    """Return the shipped parameters with the methods in use, so that options are compared with their defaults."""
    content: Any = yaml_files.load(SHIPPED)
    for section, key, *_ in METHODS:
        content[section][key] = getattr(getattr(params, section), key)
    try:
        return parameters.parse(content)
    except ParamsError:  # a method with an option that has no default
        return parameters.load(SHIPPED)


def _names(classes: Classes) -> str:
    return json.dumps(classes.names, ensure_ascii=False)
