"""The parameters of two runs: their classes, which must be the same, and which values differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wildseg.cli.diff.revision import Revision
from wildseg.core import yaml_files
from wildseg.core.errors import DataError, ParamsError
from wildseg.core.text import shorten
from wildseg.execution import params as parameters
from wildseg.tracking.values import flatten_params, flatten_values

PARAMS = "params.yaml"
LONGEST = 300  # letters of a value
NONE = "–"


def class_names(first: Revision, second: Revision) -> list[str]:
    """Return the names of the classes of both.

    Raises:
        DataError: they differ, or one has no params.yaml.
    """
    one, other = (_names(revision) for revision in (first, second))
    if one == other:
        return one
    only = [name for name in one if name not in other], [name for name in other if name not in one]
    found = "; ".join(
        f"only {revision.name} has {', '.join(names)}"
        for revision, names in zip((first, second), only, strict=True)
        if names
    )
    raise DataError(
        f"expected the same classes in {first.name} and {second.name}: {found or 'they are in another order'}; "
        "'wildseg classes' renames, merges and orders them without computing a frame"
    )


def colours(revision: Revision) -> dict[str, str]:
    """Return the colours of classes that are chosen in a revision's params.yaml.

    Raises:
        DataError: there is no params.yaml.
        ParamsError: a colour means nothing.
    """
    _content(revision)
    return parameters.own_colours(revision.artifacts.root / PARAMS)


def _names(revision: Revision) -> list[str]:
    content = _content(revision)
    classes = content.get("classes")
    if not isinstance(classes, (Mapping, list)):
        raise DataError(f"params.yaml of {revision.name}: expected classes, found {type(classes).__name__}")
    return [str(name) for name in classes]


def _content(revision: Revision) -> Mapping[str, Any]:
    if not revision.read(PARAMS):
        raise DataError(f"{revision.name} has no params.yaml: expected a commit of this project")
    content = yaml_files.load(revision.artifacts.root / PARAMS)
    return content if isinstance(content, Mapping) else {}


def changed(first: Revision, second: Revision) -> list[tuple[str, str, str]]:
    """Return the parameters that differ: (name, first value, second value), shortened.

    A parameter that one lacks has its default, and options are those of the methods in use; where a params.yaml is of
    a version that cannot be read any more, what is written is compared.
    """
    contents = [_content(one) for one in (first, second)]
    try:
        one, other = (flatten_params(parameters.parse(content)) for content in contents)
    except ParamsError:
        one, other = (flatten_values(content) for content in contents)
    return [
        (key, shorten(one.get(key, NONE), LONGEST), shorten(other.get(key, NONE), LONGEST))
        for key in {**one, **other}
        if one.get(key) != other.get(key)
    ]
