"""The record of the run that made a report: git commit, DVC experiment, methods, parameters that differ from defaults.

None of it is part of an output: it differs between runs with the same result, and what differs so would make DVC
record another output. It lies beside the page, under the page's digest, and is no output of the stage.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.lookup import METHODS
from wildseg.core.text import shorten
from wildseg.execution import defaults
from wildseg.tracking.provenance import dvc_tags, git_tags
from wildseg.tracking.values import flatten_params, flatten_values

if TYPE_CHECKING:
    from wildseg.execution.params import Params

LONGEST = 300  # letters of a value
# Classes are listed by name and shown in their colours; boxes, points and scribbles are made beside the pipeline.
NOT_SHOWN = ("classes.", "colours", "weak.")
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
    usual: dict[str, Any] = defaults.sections()
    for section, key, folder, functions in METHODS:
        for method in lookup.named(getattr(getattr(params, section), key)):
            signature = lookup.option_defaults(folder, method, functions)
            written = defaults.value_of((section, defaults.OPTIONS), {}).get(method, {})
            usual[section][defaults.OPTIONS][method] = defaults.of_options(section, method, signature) | written
    own, default = flatten_params(params), flatten_values(usual)
    rows = [("classes", _text(params.classes.names), _text(list(defaults.value_of(("classes",), {}))))]
    rows += [(key, own.get(key, ""), default.get(key, "")) for key in {**own, **default}]
    return [
        (key, shorten(value, LONGEST), shorten(other, LONGEST))
        for key, value, other in rows
        if _value(value) != _value(other) and not key.startswith(NOT_SHOWN)
    ]


def _text(names: Sequence[str]) -> str:
    return json.dumps(names, ensure_ascii=False)


def _value(text: str) -> object:
    """Return what a text stands for, so that 1 and 1.0 are the same."""
    try:
        return json.loads(text)
    except ValueError:
        return text
