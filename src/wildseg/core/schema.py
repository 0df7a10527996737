"""From nested mappings to frozen dataclasses, with checks of keys, types and ranges.

A small reader rather than a validation library, because what matters here is the one line it prints:
the key by its full name, the expected and the found value, and the nearest match.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from wildseg.core.errors import ParamsError, did_you_mean

Section = TypeVar("Section")

MISSING = object()
LISTS = (tuple, Sequence)  # what a list of params.yaml may be annotated as


def read(
    kind: type[Section],
    content: object,
    key: str,
    defaults: Mapping[str, Any] | None = None,
    lacking: list[str] | None = None,
) -> Section:
    """Build the dataclass `kind` from a mapping.

    Args:
        kind: the dataclass.
        content: nested mappings of plain values.
        key: its full name, such as ``"crf.gaussian"``.
        defaults: the values of missing keys, nested as `content`.
        lacking: collects the dotted names of defaults in use.

    Raises:
        ParamsError: an unknown or missing key, a value of another type or out of range.
    """
    if not isinstance(content, Mapping):
        raise ParamsError(f"{key or 'params.yaml'}: expected a section with keys, found {_found(content)}")
    hints = _type_hints(kind)  # type: ignore[arg-type]
    fields = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    prefix = f"{key}." if key else ""
    for name in content:
        if name not in fields:
            raise ParamsError(f"{prefix}{name}: there is no such parameter{did_you_mean(name, fields)}")
    values = {}
    for name in fields:
        default = (defaults or {}).get(name, MISSING)
        if name not in content and default is MISSING:
            raise ParamsError(f"{prefix}{name}: this parameter is missing from params.yaml")
        if name not in content and lacking is not None:
            lacking.append(prefix + name)
        value = content.get(name, default)
        if dataclasses.is_dataclass(hints[name]) and isinstance(default, Mapping):
            values[name] = read(hints[name], value, prefix + name, default, lacking)  # type: ignore[arg-type]
        else:
            values[name] = convert(hints[name], value, prefix + name)
    return kind(**values)


@cache  # evaluating the text of an annotation takes longer than all else here
def _type_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def convert(hint: Any, value: Any, key: str) -> Any:  # noqa: ANN401
    """Check one value against a type hint and return it, lists as tuples.

    Raises:
        ParamsError: the value does not fit the hint.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        return _limited(hint, value, key)
    if origin is Literal:
        return _choice(get_args(hint), value, key)
    if origin in (Union, types.UnionType):
        return _either(get_args(hint), value, key)
    if hasattr(hint, "from_mapping"):
        return hint.from_mapping(value)
    if dataclasses.is_dataclass(hint):
        return read(hint, value, key)  # type: ignore[arg-type]
    if origin in LISTS:
        if not isinstance(value, (list, tuple)):
            raise ParamsError(f"{key}: expected a list, found {_found(value)}")
        item = get_args(hint)[0]
        return tuple(convert(item, entry, f"{key}[{index}]") for index, entry in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ParamsError(f"{key}: expected a mapping, found {_found(value)}")
        for name in value:
            if not isinstance(name, str):
                raise ParamsError(f"{key}: expected a name, found {name!r}; put quotes around it")
        return {name: convert(get_args(hint)[1], entry, f"{key}.{name}") for name, entry in value.items()}
    return _plain(hint, value, key)


def _limited(hint: Any, value: Any, key: str) -> Any:  # noqa: ANN401
    inner, *limits = get_args(hint)
    converted = convert(inner, value, key)
    for limit in limits:
        if converted is not None and not limit.allows(converted):
            found = value if isinstance(converted, tuple) else converted
            raise ParamsError(f"{key}: expected {_name(inner)} {limit}, found {_found(found)}")
    return converted


def _choice(choices: tuple[Any, ...], value: Any, key: str) -> Any:  # noqa: ANN401
    # YAML reads a bare `none` as a string and `null` as None: accept both where none is a choice.
    value = "none" if value is None and "none" in choices else value
    if value not in choices or isinstance(value, bool):
        known = ", ".join(map(str, choices))
        raise ParamsError(
            f"{key}: expected one of {known}; found {_found(value)}{did_you_mean(value, map(str, choices))}"
        )
    return value


def _either(hints: tuple[Any, ...], value: Any, key: str) -> Any:  # noqa: ANN401
    if value is None and type(None) in hints:
        return None
    words = [word for hint in hints if get_origin(hint) is Literal for word in get_args(hint)]
    value = "none" if value is None and "none" in words else value  # as in `_choice`
    for hint in hints:
        if _is_kind(hint, value):  # the error of the hint of this kind is the most specific
            return convert(hint, value, key)
    expected = " or ".join(_name(hint) for hint in hints)
    raise ParamsError(f"{key}: expected {expected}; found {_found(value)}{did_you_mean(value, words)}")


def _is_kind(hint: Any, value: Any) -> bool:  # noqa: ANN401
    origin = get_origin(hint)
    if origin is Annotated:
        return _is_kind(get_args(hint)[0], value)
    if origin is Literal:
        return value in get_args(hint)
    kinds: dict[Any, Any] = {dict: Mapping, float: (int, float)} | dict.fromkeys(LISTS, (list, tuple))
    return isinstance(value, kinds.get(origin or hint, origin or hint)) and not isinstance(value, bool)


def _plain(hint: Any, value: Any, key: str) -> Any:  # noqa: ANN401
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = _as_float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ParamsError(f"{key}: expected {_name(hint)}, found {_found(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParamsError(f"{key}: expected a finite number, found {value!r}")
    return value


def _name(hint: Any) -> str:  # noqa: ANN401
    origin = get_origin(hint)
    if origin is Annotated:
        inner, limit = get_args(hint)[:2]
        return f"{_name(inner)} {limit}"
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if origin in LISTS:
        return "a list"
    if origin is dict:
        return "a mapping"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    return words.get(hint, str(hint))


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _found(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
