"""The code fingerprint: one digest of all code that decides a result, so that what is kept is good as long as it holds.

It follows imports from the module that computes the result, and from the chosen methods alone, wherever their files
lie. What only shows, schedules or records is left out, and so are comments, docstrings and formatting
(`wildseg.execution.source`). Where code cannot be followed, more of it counts, and never less.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wildseg.execution.source import Import, Source, parse
from wildseg.execution.source import imports as imports_of

PACKAGE = Path(__file__).parents[1]
SOURCE = PACKAGE.parent
PACKAGES = ("wildseg", "wildseg_demo")  # those whose imports are followed
METHODS = "methods"  # the room of what a parameter can name
INIT = "__init__.py"

# How a result is scheduled, shown or recorded, and not what it is. Anything else that is imported counts; what only
# these import does not.
DECIDES_NO_RESULT = frozenset({"cli", "execution", "report", "tracking"}) | {
    f"core/{name}.py" for name in ("colour_words", "colours", "errors", "limits", "lookup", "progress", "text")
}


@dataclass
class Closure:
    """The files that a module always imports, and the plugin folders from which it loads one file."""

    files: set[Path] = field(default_factory=set)
    plugin_folders: set[str] = field(default_factory=set)


def closure(start: Path) -> Closure:
    """Follow imports of wildseg from `start`, also those inside functions, and those of every method it may load.

    A method's own file is left out (dvc.yaml names the chosen one), what it imports is not; so are `__init__` files
    that hold only a docstring.
    """
    sources = _follow([start], None)
    folders = {folder for source in sources.values() for folder in _folders(source) if folder.startswith(METHODS)}
    methods = {PACKAGE.joinpath(*folder.split(".")) for folder in folders}
    return Closure({path for path in sources if path.parent not in methods}, folders)


def digest(module: str, *methods: str) -> str:
    """Return the fingerprint of the code behind a result: hex, the same as long as no code that decides it changes.

    Args:
        module: the module that computes it, dotted, such as ``"wildseg.stages.cam.task"``.
        methods: those that it loads by name, such as ``"wildseg.methods.cam.gradcam"``. Where it loads from a folder
            and none of these lies there, all methods of the folder count.
    """
    chosen = [_place(name).with_suffix(".py") for name in methods]
    code = hashlib.sha256()
    for path, source in sorted(_follow([_place(module).with_suffix(".py"), *chosen], chosen).items()):
        code.update(f"{path.relative_to(SOURCE).as_posix()} {source.digest}\n".encode())
    return code.hexdigest()


def fingerprint() -> str:
    """Return a hash of every byte of code of the package: hex, the same on machines that run the same."""
    code = hashlib.sha256()
    for path in _below(PACKAGE):
        text = path.read_bytes()
        code.update(f"{path.relative_to(PACKAGE).as_posix()} {len(text)}\n".encode() + text)
    return code.hexdigest()


def imports(tree: ast.AST) -> list[Path]:
    """Return the files of wildseg that a syntax tree imports, except for type checkers."""
    files = [path for one in imports_of(tree) for path in _imported(one, PACKAGE / INIT)]
    return [path for path in files if path.name != INIT]


# Following -----------------------------------------------------------------------------------------------------------


def _follow(start: Sequence[Path], chosen: Sequence[Path] | None) -> dict[Path, Source]:
    """Return all files that are loaded from `start` on, but those that say nothing.

    Of methods loaded by name only those `chosen`, and only what decides results; None: all methods, and everything.
    """
    found: dict[Path, Source] = {}
    todo = list(start)
    while todo:
        path = todo.pop()
        if path not in found:
            found[path] = parse(path.read_bytes())
            more = set(_loaded(path, found[path], chosen)) - found.keys()
            todo += [one for one in more if chosen is None or _decides(one)]
    return {path: source for path, source in found.items() if not source.inert}


def _loaded(path: Path, source: Source, chosen: Sequence[Path] | None) -> Iterator[Path]:
    if source.opaque and _decides(path):  # what schedules, such as an engine, decides nothing by what it loads
        yield from _below(PACKAGE)
    for one in source.imports:
        yield from _imported(one, path)
    for folder in _folders(source):
        place = PACKAGE.joinpath(*folder.split("."))
        # A method that loads a method of the same kind loads another than itself; what lies beside the kinds is none.
        is_method = path.is_relative_to(PACKAGE / METHODS) and path.parent != PACKAGE / METHODS
        known = place in {one.parent for one in chosen or ()} and not is_method
        yield from () if known else _below(place)


def _folders(source: Source) -> Iterator[str]:
    """Yield the folders that methods are loaded from; an empty one, the whole package, where it is not known."""
    for folder in source.folders:
        module, _, name = folder.rpartition(":")
        if not module:
            yield folder
            continue
        files = _existing(_place(module).with_suffix(".py"))
        yield from (dict(parse(path.read_bytes()).constants).get(name, "") for path in files) if files else ("",)


def _imported(one: Import, importer: Path) -> Iterator[Path]:
    """Yield the files that an import statement in the file `importer` runs or gives access to."""
    module = one.module
    if one.level:
        package = importer.relative_to(SOURCE).parts[: -one.level]
        module = ".".join([*package, *filter(None, [module])])
    first, *rest = module.split(".")
    if first not in PACKAGES:
        return
    # Packages on the way are run, too. The first one's `__init__` is the public API, which decides nothing inside.
    for depth in range(1, len(rest) + 1):
        yield from _existing(_place(".".join([first, *rest[:depth]])) / INIT)
    if not one.names:
        yield from _bound(module if one.renamed else first)
    for name in one.names if _place(module).is_dir() else ():
        submodule = list(_bound(module if name == "*" else f"{module}.{name}"))
        yield from submodule or _existing(_place(module) / INIT)
    yield from _existing(_place(module).with_suffix(".py"))


def _bound(module: str) -> Iterator[Path]:
    """Yield the file of a module; all below a package, any of which it gives access to."""
    yield from _existing(_place(module).with_suffix(".py"))
    yield from _below(_place(module))


def _decides(path: Path) -> bool:
    if not path.is_relative_to(PACKAGE):
        return True
    inside = path.relative_to(PACKAGE)
    return not {inside.parts[0], inside.as_posix()} & DECIDES_NO_RESULT


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if path.is_file() and not path.name.startswith("."))


def _existing(path: Path) -> list[Path]:
    return [path] if path.is_file() else []


def _place(module: str) -> Path:
    return SOURCE.joinpath(*module.split("."))
