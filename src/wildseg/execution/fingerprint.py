"""Which source files a module imports, read from the code, and one fingerprint of what they say.

DVC must name exactly these files as dependencies of a stage (a test compares), and what is kept of a frame is only good
as long as the code that computed it is the same.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SOURCE = PACKAGE.parent
PACKAGES = ("wildseg", "wildseg_demo")  # those whose imports are followed

# What says how a result is come by, and not what it is.
SCHEDULES = frozenset({"cli", "core", "execution", "report", "stages", "tracking"})
# Of those rooms, what says what it is.
MATTERS = frozenset(f"core/{name}.py" for name in ("arrays", "classes", "files", "images", "maps", "tables"))


@dataclass
class Closure:
    """The files that a module always imports, and the plugin folders from which it loads one file."""

    files: set[Path] = field(default_factory=set)
    plugin_folders: set[str] = field(default_factory=set)


def closure(start: Path) -> Closure:
    """Follow imports of wildseg from `start`, also those inside functions, and those of every plugin it may load.

    A plugin's own file is left out (dvc.yaml names the chosen one), what it imports is not; `__init__` files hold only
    a docstring and are left out.
    """
    found = Closure()
    todo = [start]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        found.files.add(path)
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        todo += imports(tree)
        for folder in _loaded_folders(tree) if "lookup.load(" in text else ():
            found.plugin_folders.add(folder)
            todo += [p for p in PACKAGE.joinpath(*folder.split(".")).glob("*.py") if p.stem != "__init__"]
    plugins = {PACKAGE.joinpath(*folder.split(".")) for folder in found.plugin_folders}
    found.files = {path for path in found.files if path.parent not in plugins}
    return found


def digest(module: str, *plugins: str) -> str:
    """Return a fingerprint of the code behind a result: hex, the same as long as nothing that matters was edited.

    Args:
        module: the module that computes it, dotted, such as ``"wildseg.stages.cam"``.
        plugins: the methods it was told to load, such as ``"wildseg.methods.cam.gradcam"``.
    """
    start = _module(module)
    files = {start, *map(_module, plugins)}
    files |= {path for path in closure(start).files if _matters(path)}
    code = hashlib.sha256()
    for path in sorted(files):
        text = path.read_bytes()
        code.update(f"{path.relative_to(SOURCE)} {len(text)}\n".encode() + text)
    return code.hexdigest()


def fingerprint() -> str:
    """Return a hash of all code of the package: hex, the same on machines that run the same."""
    code = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_bytes()
        code.update(f"{path.relative_to(PACKAGE)} {len(text)}\n".encode() + text)
    return code.hexdigest()


def imports(tree: ast.AST) -> list[Path]:
    """Return the wildseg files that a module's syntax tree imports, except under TYPE_CHECKING."""
    names: list[str] = []
    for statement in _statements(tree):
        if isinstance(statement, ast.Import):
            names += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names += [f"{statement.module}.{alias.name}" for alias in statement.names] + [statement.module]
    return [path for name in names if (path := _file(name))]


def _statements(block: ast.AST) -> Iterator[ast.stmt]:
    """Yield all statements inside `block`, at any depth, but those under TYPE_CHECKING; expressions hold none."""
    for_checkers = isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
    for part in ("body", "handlers", "cases", "orelse", "finalbody"):
        inner = getattr(block, part, ())
        if (part == "body" and for_checkers) or not isinstance(inner, list):  # the body of a lambda is an expression
            continue
        for statement in inner:
            if isinstance(statement, ast.stmt):
                yield statement
            yield from _statements(statement)


def _file(module: str) -> Path | None:
    path = _module(module)
    return path if module.split(".")[0] in PACKAGES and path.is_file() else None


def _matters(path: Path) -> bool:
    if not path.is_relative_to(PACKAGE):
        return True
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] not in SCHEDULES or inside.as_posix() in MATTERS or inside.parts[:2] == ("stages", "tasks")


def _module(name: str) -> Path:
    return SOURCE.joinpath(*name.split(".")).with_suffix(".py")


def _loaded_folders(tree: ast.AST) -> list[str]:
    # lookup.load("methods.cam", ...) with a literal folder
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "load"
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "lookup"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ]
