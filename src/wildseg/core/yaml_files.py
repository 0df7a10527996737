"""YAML files, read by ruamel.yaml as DVC does: YAML 1.2, and no key twice.

What a file may demand is bounded: sections in sections, the values that aliases repeat, and the digits of a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from wildseg.core.errors import ParamsError, check_regular

DEEPEST = 50  # sections within sections
LARGEST = 100_000  # values of a file, each counted as often as aliases repeat it
DIGITS = 100  # of a whole number; Python itself reads a few thousand
NUMBER = re.compile(r"[-+]?[0-9_]+")
TWICE = re.compile(r"found duplicate key \"(.*)\" with value")


def load(path: Path) -> object:
    """Read a YAML file into plain mappings, lists, texts, numbers, booleans and None.

    Raises:
        ParamsError: not YAML, or a key occurs twice in one mapping.
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
    """Turn the text of a YAML file into what `load` returns; `path` is for the error line.

    Raises:
        ParamsError: not YAML, or a key occurs twice in one mapping.
    """
    try:
        _check_size(YAML(typ="safe").parse(text))
        return YAML(typ="safe").load(text)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ParamsError(
            f"{path}: expected YAML; a tag does not fit its value, as in '!!int many' ({error})"
        ) from error
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = error.problem or error.context
        if twice := TWICE.match(problem):
            problem = f"the key {twice[1]!r} occurs twice in one section"
        raise ParamsError(f"{path}{line}: expected YAML; {problem}") from error
    except YAMLError as error:
        raise ParamsError(f"{path}: expected YAML; {' '.join(str(error).split())}") from error


@dataclass
class _Open:
    """A mapping or list that is being read: how many values it has so far, and the key that waits for a value."""

    event: events.NodeEvent
    size: int = 1
    entries: int = 0
    key: str = ""


def _check_size(stream: Iterable[events.Event]) -> None:
    """Raise a MarkedYAMLError for what would be too deep, too large or too long a number; nothing is built yet."""
    sizes: dict[str, int | None] = {}  # by anchor; None: it is still open, so that it holds itself
    nested = [_Open(events.NodeEvent(None))]
    for event in stream:
        if isinstance(event, events.CollectionStartEvent):
            nested.append(_Open(event))
            sizes[event.anchor] = None
            if len(nested) > DEEPEST:
                raise _too_deep(event)
            continue
        if isinstance(event, events.CollectionEndEvent):
            closed = nested.pop()
            event, size = closed.event, closed.size
        elif isinstance(event, events.ScalarEvent):
            size = 1
        elif isinstance(event, events.AliasEvent):
            if (known := sizes.get(event.anchor, 1)) is None:
                raise _too_deep(event)
            size = known
        else:
            continue
        _add(nested[-1], event, size)
        if not isinstance(event, events.AliasEvent):
            sizes[event.anchor] = size


def _add(parent: _Open, event: events.NodeEvent, size: int) -> None:
    is_key = isinstance(parent.event, events.MappingStartEvent) and parent.entries % 2 == 0
    parent.size += size
    parent.entries += 1
    if parent.size > LARGEST:
        raise MarkedYAMLError(problem=f"its aliases repeat more than {LARGEST:,} values", problem_mark=event.start_mark)
    if is_key and isinstance(event, events.CollectionStartEvent):
        raise MarkedYAMLError(problem="a key is a name, not a list or a section", problem_mark=event.start_mark)
    if not isinstance(event, events.ScalarEvent):
        return
    if not event.style and len(event.value) > DIGITS and NUMBER.fullmatch(event.value):
        where = f"{parent.key}: " if parent.key and not is_key else ""
        found = f"one of {len(event.value):,} digits"
        raise MarkedYAMLError(
            problem=f"{where}a number has at most {DIGITS} digits here, found {found}", problem_mark=event.start_mark
        )
    parent.key = event.value if is_key else ""


def _too_deep(event: events.Event) -> MarkedYAMLError:
    return MarkedYAMLError(problem="its sections are nested too deeply", problem_mark=event.start_mark)
