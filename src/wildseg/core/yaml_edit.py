"""Changing values in the text of a YAML file: all else stays as a person wrote it, to the byte.

A parser that writes its document again loses what it does not model: columns of comments, quotes, empty lines. Here the
parser only says where each value begins and ends, and the text between is replaced.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

WIDTH = 100  # of a list, its key not counted
PLAIN = re.compile(r"[A-Za-z_][\w ./+-]*(?<! )")


@dataclass(frozen=True)
class _Splice:
    """Replace ``text[start:end]`` by `new`; where both are the same place, insert."""

    start: int
    end: int
    new: str


def edit(text: str, changes: Mapping[str, Any], whole: frozenset[str] = frozenset()) -> str:
    """Return `text` with `changes` laid over it: mappings key by key, all other values replaced.

    Args:
        text: of a YAML file whose top is a mapping; valid.
        changes: nested mappings of plain values. A key that is not there yet is added after its section's last one.
        whole: keys at the top whose mapping is replaced as a whole.
    """
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    text = text if text.endswith("\n") else text + "\n"
    if not isinstance(top, yaml.MappingNode):
        return text + _block(changes, 0)
    splices = list(_splices(text, top, changes, whole))
    for splice in sorted(splices, key=lambda one: one.start, reverse=True):
        text = _applied(text, splice)
    return text


def _splices(
    text: str, section: yaml.MappingNode, changes: Mapping[str, Any], whole: frozenset[str]
) -> Iterator[_Splice]:
    there = {key.value: (key, node) for key, node in section.value}
    for name, value in changes.items():
        if name not in there:
            continue
        key, node = there[name]
        if isinstance(value, Mapping) and isinstance(node, yaml.MappingNode) and name not in whole:
            yield from _splices(text, node, value, frozenset())
        else:
            yield _replacement(text, key, node, value)
    if added := {name: value for name, value in changes.items() if name not in there}:
        yield _addition(text, section, added)


def _replacement(text: str, key: yaml.Node, node: yaml.Node, value: Any) -> _Splice:  # noqa: ANN401
    indent = key.start_mark.column
    if indent or not value or not isinstance(value, Mapping):
        start = node.start_mark.index
        if _is_block(node) or start == key.end_mark.index + 1:  # a block begins on a line of its own; or nothing there
            return _Splice(key.end_mark.index, _end(text, node), f": {_flow(value, indent)}")
        return _Splice(start, _end(text, node), _flow(value, indent))
    # A section at the top, such as the classes: a line each. What the last of its old lines says beside it goes too.
    if _is_block(node) and node.start_mark.line > key.start_mark.line:
        start = _line_start(text, node.start_mark.index)
        return _Splice(start, _line_end(text, _end(text, node)), _block(value, 2))
    return _Splice(key.end_mark.index, _line_end(text, _end(text, node)), ":\n" + _block(value, 2))


def _addition(text: str, section: yaml.MappingNode, added: Mapping[str, Any]) -> _Splice:
    if section.flow_style:
        last = _end(text, section.value[-1][1]) if section.value else section.end_mark.index - 1
        entries = ", ".join(f"{name}: {_flow(value)}" for name, value in added.items())
        return _Splice(last, last, f"{', ' if section.value else ''}{entries}")
    place = _line_end(text, _end(text, section))
    return _Splice(place, place, _block(added, section.start_mark.column))


def _applied(text: str, splice: _Splice) -> str:
    before, old, after = text[: splice.start], text[splice.start : splice.end], text[splice.end :]
    remark = re.match(r"( +)#", after)
    if remark and "\n" not in old + splice.new:  # what is said beside a value stays in its column
        spaces = max(2, len(remark[1]) + len(old) - len(splice.new))
        after = " " * spaces + after[len(remark[1]) :]
    return before + splice.new + after


# Where values end ----------------------------------------------------------------------------------------------------


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _end(text: str, node: yaml.Node) -> int:
    # The parser ends a block where the next one begins, behind comments that are the next one's.
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return len(text[: node.end_mark.index].rstrip())  # of a text of several lines; empty ones behind it stay
    if not _is_block(node):
        return node.end_mark.index
    last = node.value[-1]
    return _end(text, last[1] if isinstance(last, tuple) else last)


def _line_start(text: str, place: int) -> int:
    return text.rfind("\n", 0, place) + 1


def _line_end(text: str, place: int) -> int:
    """Return where the next line begins."""
    return text.index("\n", place) + 1


# Values as text ------------------------------------------------------------------------------------------------------


def _block(section: Mapping[str, Any], indent: int) -> str:
    """Return a line for each key; a section at the top has one line for each of its own."""
    lines = []
    for name, value in section.items():
        head = " " * indent + f"{_scalar(name)}:"
        if indent == 0 and isinstance(value, Mapping) and value:
            lines.append(f"{head}\n{_block(value, 2)}")
        else:
            lines.append(f"{head} {_flow(value, indent)}\n")
    return "".join(lines)


def _flow(value: Any, indent: int = 0) -> str:  # noqa: ANN401
    """Return a value on one line, or a list that is too long for one on several."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(name)}: {_flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        line = "[" + ", ".join(_flow(item) for item in value) + "]"
        margin = " " * (indent + 2)
        # Broken at spaces: one inside a text is read back as a space.
        lines = textwrap.wrap(line, WIDTH, subsequent_indent=margin, break_on_hyphens=False, break_long_words=False)
        return "\n".join(lines)
    return _scalar(value)


def _scalar(value: Any) -> str:  # noqa: ANN401
    """Return a text, number, boolean or None so that YAML 1.1 and 1.2 both read it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    plain = PLAIN.fullmatch(value) and yaml.safe_load(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)
