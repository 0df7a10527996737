"""YAML files, edited by ruamel.yaml as DVC does: comments stay, and the bytes of all lines that no change touches.

What is written is what DVC would write, so that its `-S` changes no line of it but those of the parameter.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString
from ruamel.yaml.tokens import CommentToken

from wildseg.core.yaml_values import written


class Document:
    """The text of a YAML file whose top is a mapping, to be changed here and there.

    ruamel.yaml keeps comments with what stands before them; where keys are added or sections replaced, what is said
    below them stays in its place. Lines that no change touches stay the same bytes.
    """

    def __init__(self, text: str) -> None:
        """Read `text`, which is valid YAML."""
        self._end = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
        self._before = text if not text or text.endswith("\n") else text + self._end
        self._yaml = YAML()
        self._yaml.preserve_quotes = True
        self.top: CommentedMap = self._read(text)
        if columns := [
            value.lc.col for value in self.top.values() if isinstance(value, CommentedMap) and _is_block(value)
        ]:
            self._yaml.map_indent = columns[0]
        self._unchanged = self._dumped(self._read(text))

    def _read(self, text: str) -> CommentedMap:
        content = self._yaml.load(text.replace("\r\n", "\n"))
        return content if isinstance(content, CommentedMap) else CommentedMap()

    def _dumped(self, content: CommentedMap) -> str:
        if not content:
            return ""
        out = StringIO()
        self._yaml.dump(content, out)
        return out.getvalue()

    def change(self, changes: Mapping[str, Any], whole: frozenset[str] = frozenset()) -> None:
        """Lay `changes` over the document: mappings key by key, all other values replaced.

        Args:
            changes: nested mappings of plain values. A key that is not there yet is added after its section's last one.
            whole: keys at the top whose mapping is replaced as a whole.
        """
        _lay_over(self.top, changes, whole, top=True)

    def rename(self, path: Sequence[str], name: str) -> None:
        """Give the last key of `path` another name; its value, its place and its comments stay."""
        section, old = self._section(path[:-1]), path[-1]
        place, slots = list(section).index(old), section.ca.items.pop(old, None)
        section.insert(place, name, section.pop(old))
        if slots:
            section.ca.items[name] = slots

    def remove(self, path: Sequence[str]) -> None:
        """Remove the last key of `path` with the comment beside it; what is said below it stays."""
        section, name = self._section(path[:-1]), path[-1]
        place, below = list(section).index(name), _below(section, name)
        _say_below(section, name, "")
        section.pop(name)
        section.ca.items.pop(name, None)
        if place and below:
            earlier = list(section)[place - 1]
            _say_below(section, earlier, _below(section, earlier) + below)
        elif below and len(path) > 1:  # below the key of the section itself
            above = self._section(path[:-2])
            token = _token_of(above, path[-2])
            _say_below(above, path[-2], (token.value.partition("\n")[2] if token else "") + below, own=True)

    def reorder(self, path: Sequence[str], names: Sequence[str]) -> None:
        """Put the keys of the section at `path` in the order of `names`, which are all of them.

        What is said below the section stays there.
        """
        section = self._section(path)
        last = next(reversed(section))
        below = _below(section, last)
        _say_below(section, last, "")
        for name in names:
            section.move_to_end(name)
        _say_below(section, names[-1], _below(section, names[-1]) + below)

    def insert(self, path: Sequence[str], value: object, template: Document) -> None:
        """Add the key at `path` with `value`, where `template` has it and with its comments there."""
        *parents, name = path
        section, model = self._section(parents), template._section(parents)
        earlier = [key for key in list(model)[: list(model).index(name)] if key in section]
        place = list(section).index(earlier[-1]) + 1 if earlier else 0
        if section.fa.flow_style() or not section:  # no comment has a place in it
            section.fa.set_flow_style()
            section.insert(place, name, written(value))
            return
        moves = ""
        if earlier:
            stays, moves = _continued(section, earlier[-1])
            _say_below(section, earlier[-1], stays + template._above(parents, name))
        section.insert(place, name, _with_values(copy.deepcopy(model[name]), value))
        if slots := model.ca.items.get(name):
            section.ca.items[name] = copy.deepcopy(slots)
        _say_below(section, name, _continued(model, name)[0] + moves)

    def _section(self, path: Sequence[str]) -> CommentedMap:
        section = self.top
        for name in path:
            section = section[name]
        return section

    def _above(self, parents: Sequence[str], name: str) -> str:
        """Return the lines of comments above a key."""
        section = self._section(parents)
        place = list(section).index(name)
        if place:
            return _continued(section, list(section)[place - 1])[1]
        token = _token_of(self._section(parents[:-1]), parents[-1]) if parents else None
        return token.value.partition("\n")[2] if token else ""

    def text(self) -> str:
        """Return the document as text; all of it as ruamel.yaml writes it where indents do not fit."""
        whole = self._dumped(self.top)
        merged = _merged(self._before, self._unchanged, whole, self._end)
        with suppress(YAMLError):
            if YAML(typ="safe").load(merged) == YAML(typ="safe").load(whole):
                return merged
        return whole.replace("\n", self._end)


def edit(text: str, changes: Mapping[str, Any], whole: frozenset[str] = frozenset()) -> str:
    """Return the text of a YAML file with changes applied; see `Document.change`."""
    document = Document(text)
    document.change(changes, whole)
    return document.text()


def _lay_over(section: CommentedMap, changes: Mapping[str, Any], whole: frozenset[str], *, top: bool) -> None:
    for name, value in changes.items():
        old = section.get(name)
        if name not in section:
            _append(section, name, written(value, block=top))
        elif isinstance(value, Mapping) and isinstance(old, CommentedMap) and name not in whole:
            _lay_over(old, value, frozenset(), top=False)
        else:
            below = _below(section, name)
            _say_below(section, name, "")  # its place may go
            block = top and isinstance(value, Mapping) and bool(value)
            if _is_block(old):
                _say_below(section, name, "", own=True)
                if slots := section.ca.items.get(name):
                    slots[3] = slots[3] or None  # an empty list here makes ruamel.yaml lose the end of the line
            elif block:
                section.ca.items.pop(name, None)  # the comment of a value on the key's line
            section[name] = written(value, block=block)
            _say_below(section, name, below)


def _append(section: CommentedMap, name: str, value: object) -> None:
    last = next(reversed(section), None)
    below = "" if last is None else _below(section, last)
    if last is None:
        section.fa.set_flow_style()
    else:
        _say_below(section, last, "")
    section[name] = value
    _say_below(section, name, below)


def _with_values(own: Any, value: Any) -> Any:  # noqa: ANN401
    """Return what a template has with the values of `value`; what is the same stays as it is written there."""
    if not (isinstance(own, CommentedMap) and isinstance(value, Mapping)):
        return own if own == value else written(value)
    for name, item in value.items():
        own[name] = _with_values(own[name], item)
    return own


def _is_block(value: object) -> bool:
    return isinstance(value, (CommentedMap, CommentedSeq)) and bool(value) and not value.fa.flow_style()


def _leaf(section: Any, key: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Return the position of a value's last line: the innermost section or list, and its last key."""
    while _is_block(section[key]):
        section = section[key]
        key = len(section) - 1 if isinstance(section, CommentedSeq) else next(reversed(section))
    return section, key


def _below(section: CommentedMap, key: str) -> str:
    """Return the lines of comments between a value and the next key, empty lines included."""
    token = _token_of(*(leaf := _leaf(section, key)))
    if token is None:
        return ""
    return token.value if _has_lines(*leaf) else token.value.partition("\n")[2]


def _continued(section: CommentedMap, key: str) -> tuple[str, str]:
    """Return `_below` in two: what goes on with the comment beside the value, in its column, and the rest."""
    token, lines = _token_of(*_leaf(section, key)), _below(section, key).splitlines(keepends=True)
    start = " " * token.start_mark.column + "#" if token and token.value.startswith("#") else None
    count = 0
    while start and count < len(lines) and lines[count].startswith(start):
        count += 1
    return "".join(lines[:count]), "".join(lines[count:])


def _token_of(place: Any, key: Any) -> CommentToken | None:  # noqa: ANN401
    slots = place.ca.items.get(key)
    return slots[0 if isinstance(place, CommentedSeq) else 2] if slots else None


def _has_lines(place: Any, key: Any) -> bool:  # noqa: ANN401
    return isinstance(place[key], (LiteralScalarString, FoldedScalarString))


def _say_below(section: CommentedMap, key: str, lines: str, *, own: bool = False) -> None:
    """Replace what `_below` returns; `own`: the lines below the key itself, before the first line of its value."""
    place, last = (section, key) if own else _leaf(section, key)
    token, has_lines = _token_of(place, last), _has_lines(place, last)
    beside = "" if token is None or has_lines else token.value.partition("\n")[0]
    value = lines if has_lines else f"{beside}\n{lines}"
    slots = place.ca.items.setdefault(last, [None, None, None, None])
    slots[0 if isinstance(place, CommentedSeq) else 2] = (
        _token(value, token.start_mark.column if token and beside else 0) if value not in ("", "\n") else None
    )


def _token(value: str, column: int) -> CommentToken:
    return CommentToken(value, start_mark=CommentMark(column), end_mark=None)


def _merged(text: str, unchanged: str, changed: str, end: str) -> str:
    """Return `text` with the lines in which `changed` differs from `unchanged`, the same document written by ruamel."""
    own, before, after = (part.splitlines(keepends=True) for part in (text, unchanged, changed))
    kept: dict[int, list[str]] = {}  # replacements, by line of `before`
    plain = [line.rstrip("\r\n") + "\n" for line in own]
    for _, low, high, start, stop in SequenceMatcher(None, before, plain, False).get_opcodes():
        for number in range(low, high):
            kept[number] = []
        lines = own[start:stop]
        if high - low == stop - start:
            kept |= {number: [line] for number, line in zip(range(low, high), lines, strict=True)}
        else:
            kept.setdefault(max(low, high - 1), [])[:0] = lines
    out: list[str] = []
    for kind, low, high, start, stop in SequenceMatcher(None, before, after, False).get_opcodes():
        if kind == "equal":
            out += [line for number in range(low, high) for line in kept.get(number, [])]
        else:
            out += [line.rstrip("\n") + end for line in after[start:stop]]
    return "".join(out)
