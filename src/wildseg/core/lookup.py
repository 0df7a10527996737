"""A parameter's value is a file's name: `cam.method: hirescam` is `cam/methods/hirescam.py`.

Adding a method is adding one file; there is no registry. What exists is read from the folder, and what a method
accepts is read from its signature without importing it, so that checking params.yaml never loads torch.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from wildseg.core import hints, schema
from wildseg.core.errors import ParamsError, did_you_mean

PACKAGE = Path(__file__).parents[1]
Functions = tuple[str, ...]  # a method's file defines one of them
# Where the value of a parameter names a file, and the function in it whose options params.yaml may set: of a CAM method
# `cam`, or `build` where a network is trained first, or `read` where maps come from files.
METHODS: tuple[tuple[str, str, str, Functions], ...] = (
    ("extract", "method", "methods.keyframes", ("select",)),
    ("label", "method", "methods.labels", ("label",)),
    ("cam", "method", "methods.cam", ("cam", "build", "read")),
    ("cam", "refine", "methods.refine", ("refine",)),
    ("train", "architecture", "methods.architectures", ("build",)),
    ("train", "loss", "methods.losses", ("loss",)),
)
DETECTORS = "methods.detectors"  # no parameter names one of these, but an option of `wildseg detect`


def named(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return the methods that the value of a parameter names: one, or those of a list in order."""
    return (value,) if isinstance(value, str) else tuple(value)


def available(folder: str) -> list[str]:
    """List the methods in `folder`, a dotted package below wildseg such as ``"methods.cam"``."""
    return sorted(p.stem for p in _path(folder).glob("*.py") if not p.stem.startswith("_"))


def load(folder: str, name: str, key: str = "") -> ModuleType:
    """Import the method `name` of `folder`; `key` is the parameter that named it, for the error line.

    Raises:
        ParamsError: there is no such file.
    """
    check(folder, name, key or folder)
    return importlib.import_module(f"wildseg.{folder}.{name}")


def check(folder: str, name: str, key: str) -> None:
    """Raise a ParamsError that lists what exists unless `folder` holds a method `name`."""
    if name.isidentifier() and not name.startswith("_") and (_path(folder) / f"{name}.py").is_file():
        return
    if name not in (known := available(folder)):
        raise ParamsError(f"{key}: expected one of {', '.join(known)}; found {name!r}{did_you_mean(name, known)}")


def check_options(folder: str, name: str, functions: Functions, options: Mapping[str, object], key: str) -> None:
    """Raise a ParamsError unless `options` are keyword-only parameters of the method's function, of their types.

    Types and limits are those of its signature; see `wildseg.core.hints`.
    """
    known = hints.of_options(_function(folder, name, functions))
    for option, value in options.items():
        if option not in known:
            accepted = f"it accepts {', '.join(known)}" if known else "it has no options"
            raise ParamsError(f"{key}.{option}: {name} has no such option; {accepted}{did_you_mean(option, known)}")
        schema.convert(known[option], value, f"{key}.{option}")


def check_required(folder: str, name: str, functions: Functions, options: Mapping[str, object], key: str) -> None:
    """Raise a ParamsError unless `options` has all that the method's function has no default for."""
    for option in hints.required(_function(folder, name, functions)):
        if option not in options:
            raise ParamsError(f"{key}.{option}: {name} needs this option, and it is missing from params.yaml")


def option_names(folder: str, name: str, functions: Functions) -> list[str]:
    """Return the keyword-only parameters of the method's function in its source, without importing it."""
    return list(hints.of_options(_function(folder, name, functions)))


def option_defaults(folder: str, name: str, functions: Functions) -> dict[str, Any]:
    """Return the defaults of the keyword-only parameters of the method's function in its source, lists for tuples."""
    return hints.defaults(_function(folder, name, functions))


def _function(folder: str, name: str, functions: Functions) -> ast.FunctionDef:
    tree = _tree(folder, name)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in functions:
            return node
    wanted = " or ".join(f"{function}(...)" for function in functions)
    raise ParamsError(f"{folder}/{name}.py: expected a function {wanted} in this method's file, found none")


def needs(folder: str, name: str) -> frozenset[str]:
    """Return the method's ``NEEDS = frozenset({...})`` from its source, without importing it."""
    tree = _tree(folder, name)
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["NEEDS"]:
            return frozenset(str(part.value) for part in ast.walk(node.value) if isinstance(part, ast.Constant))
    return frozenset()


def describe(folder: str, name: str) -> str:
    """Return the first line of the method's docstring, without importing it."""
    tree = _tree(folder, name)
    return (ast.get_docstring(tree) or "").split("\n", 1)[0]


def _tree(folder: str, name: str) -> ast.Module:
    path = _path(folder) / f"{name}.py"
    return _parsed(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)  # params.yaml names the same few files again and again
def _parsed(path: Path, changed: int) -> ast.Module:
    del changed  # a changed file is read again
    return ast.parse(path.read_text(encoding="utf-8"))


def _path(folder: str) -> Path:
    return PACKAGE.joinpath(*folder.split("."))
