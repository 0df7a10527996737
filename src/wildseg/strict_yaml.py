"""YAML without surprises: a key that stands twice is an error, and words and numbers are read as DVC reads them.

DVC reads and writes params.yaml as YAML 1.2; PyYAML by itself reads YAML 1.1, where ``1e-05`` is a text, ``no`` means
false and ``12:30:00`` is a number of seconds. The patterns here are those of the YAML 1.2 core schema (section 10.3.2).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from wildseg.errors import ParamsError, check_regular

CORE_SCHEMA = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": r"<<",
}


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
        raise ParamsError(f"{path}: expected YAML; its sections are nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ParamsError(f"{path}{line}: expected YAML; {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: expected YAML; {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if key in seen and not key_node.tag.endswith(":merge"):
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice in one section", problem_mark=key_node.start_mark
                )
            seen.append(key)
        return super().construct_mapping(node, deep)


for _name, _pattern in CORE_SCHEMA.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), None)  # type: ignore[no-untyped-call]
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))  # 010 is ten, not eight
_Loader.add_constructor("tag:yaml.org,2002:merge", lambda _, node: node.value)
