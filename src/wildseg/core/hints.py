"""The types of a function's options, read from its source without importing it.

Understood is what the options of methods are written with: plain types, ``None``, ``X | Y``, ``Literal[...]``,
``Sequence[...]``, ``Mapping[str, ...]``, and ``Annotated[..., Between(...)]`` or a name of `wildseg.core.limits`. No
text is run: each of these words is looked up here.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from wildseg.core import limits

WORDS = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "Any": Any,
    **{name: getattr(limits, name) for name in ("Share", "Count", "Natural", "Side", "Seconds", "Channels")},
}
MISSING = object()
LIMITS = {"Between": limits.Between, "Length": limits.Length}


@functools.lru_cache(maxsize=256)  # all methods of params.yaml, whose types are made anew in milliseconds each
def of_options(function: ast.FunctionDef) -> Mapping[str, Any]:
    """Return the hint of each keyword-only parameter, ``Any`` where there is none or one that is not understood."""
    return {argument.arg: _hint_or_any(argument.annotation) for argument in function.args.kwonlyargs}


def required(function: ast.FunctionDef) -> list[str]:
    """Return the keyword-only parameters without a default."""
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return [argument.arg for argument, default in pairs if default is None]


def defaults(function: ast.FunctionDef) -> dict[str, Any]:
    """Return the defaults of the keyword-only parameters whose source is a plain value; tuples as lists."""
    found = {}
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        try:
            value = MISSING if default is None else ast.literal_eval(default)
        except ValueError:
            value = MISSING
        if value is not MISSING:
            found[argument.arg] = list(value) if isinstance(value, tuple) else value
    return found


def _hint_or_any(node: ast.expr | None) -> Any:  # noqa: ANN401
    try:
        return Any if node is None else _hint(node)
    except (KeyError, ValueError, TypeError):
        return Any


def _hint(node: ast.expr) -> Any:  # noqa: ANN401
    if isinstance(node, ast.Name):
        return WORDS[node.id]
    if isinstance(node, ast.Constant) and node.value is None:
        return type(None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either(_hint(node.left), _hint(node.right))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _subscript(node.value.id, parts)
    raise ValueError("not understood")


def _subscript(name: str, parts: Sequence[ast.expr]) -> Any:  # noqa: ANN401
    if name == "Literal":
        return Literal[tuple(ast.literal_eval(part) for part in parts)]
    if name == "Sequence":
        (item,) = parts
        return Sequence[_hint(item)]  # type: ignore[misc]
    if name == "Mapping":
        key, item = parts
        return dict[_hint(key), _hint(item)]  # type: ignore[misc]
    if name == "Annotated":
        return Annotated[(_hint(parts[0]), *map(_limit, parts[1:]))]  # type: ignore[valid-type]
    raise KeyError(name)


def _either(*hints: Any) -> Any:  # noqa: ANN401
    return functools.reduce(operator.or_, hints)


def _limit(node: ast.expr) -> limits.Between | limits.Length:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        raise ValueError("not understood")
    words = {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
    return LIMITS[node.func.id](*map(ast.literal_eval, node.args), **words)
