"""The params.yaml that wildseg ships: what a parameter is that a person's params.yaml lacks, and what is said of it.

The shipped file is the one source of defaults of sections' keys; options of methods have theirs in the methods'
signatures, and the file lists those worth changing. Classes have none: they are everybody's own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from wildseg.core import schema, yaml_files
from wildseg.core.yaml_document import Document

SHIPPED = Path(__file__).with_name("params.yaml")
OWN = "classes"  # without a default
OPTIONS = "options"
Section = TypeVar("Section")
# Whose mappings hold no parameters.
LEAVES = frozenset({"classes", "background", "colours", "threshold", "definitions"})


@cache
def _shipped() -> dict[str, Any]:
    content: Any = yaml_files.load(SHIPPED)
    return dict(content)


def sections() -> dict[str, Any]:
    """Return the default of every key of every section, nested as in params.yaml; options are empty there."""
    content = {name: value for name, value in copy.deepcopy(_shipped()).items() if name != OWN}
    for value in content.values():
        if isinstance(value, dict) and OPTIONS in value:
            value[OPTIONS] = {}
    return content


def section(kind: type[Section], name: str, **changes: object) -> Section:
    """Return a section as params.yaml would be read with `changes` and nothing else in it.

    Args:
        kind: its dataclass, such as `wildseg.cam.params.Cam`.
        name: of the section, such as ``"cam"``.
        changes: by name, sections inside of it as mappings.

    Raises:
        ParamsError: a name or value means nothing; the line names it without the section.
    """
    return schema.read(kind, changes, "", sections()[name])


def listed(section: str, method: str) -> list[str]:
    """Return the options of a method that the shipped file lists."""
    return list(_shipped()[section][OPTIONS].get(method, {}))


def missing(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the paths of all that the shipped file has and `content` lacks, sections as wholes, in its order."""
    return list(_missing(_shipped(), content, ()))


def _missing(
    shipped: Mapping[str, Any], content: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    for name, value in shipped.items():
        if name not in content:
            if name != OWN and not (OPTIONS in path and value == {}):  # a method without options need not stand there
                yield (*path, name)
        elif isinstance(value, Mapping) and isinstance(content[name], Mapping) and name not in LEAVES:
            yield from _missing(value, content[name], (*path, name))


def of_options(section: str, method: str, signature: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of a method's options: those of its `signature`, and the shipped texts where it has none."""
    shipped = _shipped()[section][OPTIONS].get(method, {})
    return {name: shipped.get(name, value) if value == "" else value for name, value in signature.items()}


def value_of(path: tuple[str, ...], signatures: Mapping[tuple[str, str], Mapping[str, Any]]) -> Any:  # noqa: ANN401
    """Return the default at `path`; `signatures` are the defaults of methods' options by (section, method)."""
    value: Any = copy.deepcopy(_shipped())
    for (section, method), signature in signatures.items():
        known = of_options(section, method, signature)
        own = value[section][OPTIONS].get(method, {})
        own.update({name: known[name] for name in own if name in known})
    for name in path:
        value = value[name]
    return value


def template() -> Document:
    """Return the shipped file with its comments."""
    return Document(yaml_files.text_of(SHIPPED))
