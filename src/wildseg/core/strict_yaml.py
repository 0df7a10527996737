"""YAML without surprises: a key that stands twice is an error, and words and numbers are read as DVC reads them.

DVC reads and writes params.yaml as YAML 1.2; PyYAML by itself reads YAML 1.1, where ``1e-05`` is a text, ``no`` means
false and ``12:30:00`` is a number of seconds. The patterns here are those of the YAML 1.2 core schema (section 10.3.2).

What a file asks for is bounded: sections in sections, the values that aliases repeat, and the digits of a number.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from wildseg.core.errors import ParamsError, check_regular

CORE_SCHEMA = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": r"<<",
}

DEEPEST = 50  # sections within sections
LARGEST = 100_000  # values of a file, each counted as often as aliases repeat it
TOO_DEEP = "its sections are nested too deeply"
DIGITS = 100  # of a whole number; Python itself reads a few thousand


def load(path: Path) -> object:
    """Read a YAML file into plain mappings, lists, texts, numbers, booleans and None.

    Raises:
        ParamsError: not YAML, or a key stands twice in one mapping.
        OSError: the file cannot be read.
    """
    return parse(text_of(path), path)


def text_of(path: Path) -> str:
    """Read the text of a YAML file, with the ends of its lines as they are.

    Raises:
        ParamsError: it is not UTF-8.
        OSError: the file cannot be read.
    """
    check_regular(path)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: expected text in UTF-8 ({error})") from error


def parse(text: str, path: Path) -> object:
    """Turn the text of a YAML file into what `load` returns; `path` is where it stands, for the error line.

    Raises:
        ParamsError: not YAML, or a key stands twice in one mapping.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise ParamsError(f"{path}: expected YAML; {TOO_DEEP}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ParamsError(
            f"{path}: expected YAML; a tag does not fit its value, as in '!!int many' ({error})"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ParamsError(f"{path}{line}: expected YAML; {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: expected YAML; {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()  # type: ignore[no-untyped-call]
        if node is not None and _size(node, {}, 0) > LARGEST:
            raise yaml.MarkedYAMLError(
                problem=f"its aliases repeat more than {LARGEST:,} values", problem_mark=node.start_mark
            )
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = []
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if key in seen and not key_node.tag.endswith(":merge"):
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice in one section", problem_mark=key_node.start_mark
                )
            seen.append(key)
            if isinstance(value_node, yaml.ScalarNode) and value_node.tag.endswith(":int"):
                _check_digits(value_node, f"{key}: ")
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Return how many values there are once aliases are written out, without writing them out."""
    if depth > DEEPEST or known.get(id(node)) == 0:  # 0: it is being counted, so that it holds itself
        raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=node.start_mark)
    if id(node) not in known and isinstance(node, yaml.CollectionNode):
        known[id(node)] = 0
        parts = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1 + sum(_size(part, known, depth + 1) for part in parts)
    return known.get(id(node), 1)


def _whole_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    _check_digits(node)
    return int(str(loader.construct_scalar(node)))  # type: ignore[no-untyped-call]  # 010 is ten, not eight


def _check_digits(node: yaml.ScalarNode, where: str = "") -> None:
    if len(node.value) > DIGITS:
        found = f"one of {len(node.value):,} digits"
        raise yaml.MarkedYAMLError(
            problem=f"{where}a number has at most {DIGITS} digits here, found {found}", problem_mark=node.start_mark
        )


for _name, _pattern in CORE_SCHEMA.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), None)  # type: ignore[no-untyped-call]
_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)
_Loader.add_constructor("tag:yaml.org,2002:merge", lambda _, node: node.value)
