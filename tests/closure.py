"""Which source files a stage imports, read from the code: what dvc.yaml must name, no more and no less."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "wildseg"


@dataclass
class Closure:
    """The files that a stage always imports, and the plugin folders from which it loads one file."""

    files: set[Path] = field(default_factory=set)
    plugin_folders: set[str] = field(default_factory=set)


def of(start: Path) -> Closure:
    """Follow imports of wildseg from `start`, also those inside functions, and those of every plugin it may load.

    A plugin's own file is left out (dvc.yaml names the chosen one), what it imports is not; `__init__` files hold only
    a docstring and are left out.
    """
    closure = Closure()
    todo = [start]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        if not _is_plugin(path, closure):
            closure.files.add(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        todo += imports(tree)
        for folder in _loaded_folders(tree):
            closure.plugin_folders.add(folder)
            todo += [p for p in PACKAGE.joinpath(*folder.split(".")).glob("*.py") if p.stem != "__init__"]
    closure.files = {p for p in closure.files if not _is_plugin(p, closure)}
    return closure


def imports(tree: ast.AST) -> list[Path]:
    """Return the wildseg files that a module's syntax tree imports, except under TYPE_CHECKING."""
    skipped = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    names: list[str] = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
    return [path for name in names if (path := _file(name))]


def _file(module: str) -> Path | None:
    path = SOURCE.joinpath(*module.split(".")).with_suffix(".py")
    return path if module.startswith("wildseg.") and path.is_file() else None


def _loaded_folders(tree: ast.AST) -> list[str]:
    # plugins.load("cam.methods", ...) with a literal folder
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "plugins.load"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]


def _is_plugin(path: Path, closure: Closure) -> bool:
    return ".".join(path.parent.relative_to(PACKAGE).parts) in closure.plugin_folders
