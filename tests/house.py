"""The measures of the house: rooms, imports, circles, lengths, and what it takes to add something.

`python -m tests.house` prints them; tests/test_house.py holds those that are promises. All is read from the source, and
nothing is imported.
"""

from __future__ import annotations

import ast
import graphlib
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "wildseg"
PACKAGES = ("wildseg", "wildseg_demo")

# Each above those that it may import from.
ROOMS = (
    "cli", "stages", "report", "tracking", "methods", "artifacts", "execution", "exchange",
    "segment", "labels", "cam", "training", "frames", "crf", "encoders", "metrics", "core",
)  # fmt: skip

LONGEST_FILE = 300  # lines
LONGEST_FUNCTION = 60
# What is longer still. An entry goes when its file or function is split; none is added.
LONG_FILES = frozenset({"wildseg/stages/on_arrays.py"})  # half of it says what the public functions take and return
LONG_FUNCTIONS = frozenset({
    "wildseg/labels/language/chat_network.py:ChatNetwork.__init__",
    "wildseg/methods/labels/tagclip.py:label",
    "wildseg/stages/on_arrays.py:activation_maps",
    "wildseg/stages/on_arrays.py:pseudo_mask",
})  # fmt: skip


@dataclass(frozen=True)
class Module:
    """A source file: `name` is dotted, such as ``wildseg.cam.engine``."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return parsed(self.path)

    @property
    def place(self) -> str:
        """The path below the source folder, as in ``wildseg/cam/engine.py``."""
        return self.path.relative_to(SOURCE).as_posix()

    @property
    def room(self) -> str:
        """The folder below the package; empty for a file beside the rooms, and for another package its name."""
        package, *rest = self.name.split(".")
        if package != "wildseg":
            return package
        return rest[0] if len(rest) > 1 or self.path.name == "__init__.py" else ""

    @property
    def lines(self) -> int:
        """The number of lines."""
        return len(self.path.read_text(encoding="utf-8").splitlines())


@cache
def modules() -> dict[str, Module]:
    """Return all source files of the packages but the `__init__` files, by dotted name."""
    paths = sorted(path for package in PACKAGES for path in (SOURCE / package).rglob("*.py"))
    names = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in paths}
    return {name: Module(name, path) for name, path in names.items() if path.name != "__init__.py"}


def rooms() -> dict[str, str]:
    """Return the folders of the package, each with the sentence that its `__init__` opens with."""
    folders = sorted(path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")
    return {folder.name: (ast.get_docstring(parsed(folder / "__init__.py")) or "").split("\n")[0] for folder in folders}


def loose() -> list[str]:
    """Return what lies beside the rooms, other than the package's `__init__`."""
    return sorted(path.name for path in PACKAGE.iterdir() if path.is_file() and path.name != "__init__.py")


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file; nobody may change it."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Return all nodes of a syntax tree, which many tests walk over."""
    return tuple(ast.walk(tree))


# Imports -------------------------------------------------------------------------------------------------------------


def imports(name: str) -> frozenset[str]:
    """Return the modules that a module imports, at its top or inside a function, by statement or by a string.

    A string counts where it names a module in full, or where a call that loads modules (`lookup.load`, `import_module`)
    names a folder: then all modules of the folder do. The program after a ``-m`` is a process of its own and no import.
    """
    return _imports(name, modules()[name].tree)


@cache
def _imports(name: str, tree: ast.Module) -> frozenset[str]:
    found = {target for statement in _statements(tree) for target in _imported(statement)}
    found |= {text for text in _strings(tree) if text in modules()}
    found |= {module for call in _loads(tree) for module in _loadable(call.args[0])}
    return frozenset(found - {name})


def _statements(block: ast.AST) -> Iterator[ast.stmt]:
    """Yield all statements inside `block`, at any depth, but those that only a type checker reads."""
    for child in ast.iter_child_nodes(block):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.orelse:
                yield statement
                yield from _statements(statement)
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from _statements(child)


def _imported(statement: ast.stmt) -> list[str]:
    names: list[str] = []
    if isinstance(statement, ast.Import):
        names = [alias.name for alias in statement.names]
    elif isinstance(statement, ast.ImportFrom) and statement.module:
        names = [statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)]
    return [name for name in names if name in modules()]


def _strings(tree: ast.Module) -> Iterator[str]:
    programs = {
        id(after)
        for node in nodes(tree)
        for parts in (getattr(node, "elts", ()), getattr(node, "args", ()))
        if isinstance(parts, list)
        for before, after in zip(parts, parts[1:], strict=False)
        if isinstance(before, ast.Constant) and before.value == "-m"
    }
    for node in nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in programs:
            yield node.value


def _loads(tree: ast.Module) -> list[ast.Call]:
    calls = [node for node in nodes(tree) if isinstance(node, ast.Call) and node.args]
    return [call for call in calls if re.search(r"\b(lookup\.load|import_module|__import__)$", dotted(call.func))]


def dotted(function: ast.expr) -> str:
    """Return what is called as it is written; ``(...)`` stands for anything that is no name, as in ``(...).load``."""
    if isinstance(function, ast.Attribute):
        return f"{dotted(function.value)}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else "(...)"


def _loadable(argument: ast.expr) -> Iterator[str]:
    """Yield the modules of the folder, or the module, that the argument of a loading call names."""
    if isinstance(argument, ast.JoinedStr):  # f"wildseg.stages.{name}"
        texts = {str(part.value).rstrip(".") for part in argument.values[:1] if isinstance(part, ast.Constant)}
    elif isinstance(argument, ast.Constant):
        texts = {str(argument.value)}
    else:
        texts = _constants().get(ast.unparse(argument).rpartition(".")[2], set())
    for text in texts:
        folder = text if text.startswith(PACKAGES) else f"wildseg.{text}"
        if folder not in PACKAGES:  # a function that loads whatever its caller names
            yield from (name for name in modules() if name == folder or name.rpartition(".")[0] == folder)


@cache
def _constants() -> dict[str, set[str]]:
    """The texts of upper-case names that modules define, such as ``ENGINES = "execution.engines"``."""
    found: dict[str, set[str]] = {}
    for module in modules().values():
        for node in module.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                for target in node.targets:
                    found.setdefault(ast.unparse(target), set()).add(str(node.value.value))
    return found


def upward() -> list[str]:
    """Return the imports from a room that point to a higher one or out of the rooms: ``importer -> imported``."""
    order = {room: place for place, room in enumerate(ROOMS)}
    wrong = []
    for name, module in modules().items():
        for target in sorted(imports(name)):
            own, other = order.get(module.room), order.get(modules()[target].room)
            if own is not None and (other is None or other < own):
                wrong.append(f"{name} -> {target}")
    return wrong


def circle() -> list[str]:
    """Return the modules of one import circle, empty where there is none."""
    try:
        graphlib.TopologicalSorter({name: imports(name) for name in modules()}).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def reachable(start: str) -> set[str]:
    """Return the modules that a module imports, directly or through others, and itself."""
    found, todo = {start}, [start]
    while todo:
        new = imports(todo.pop()) - found
        found |= new
        todo += new
    return found


def longest_chain() -> list[str]:
    """Return the longest chain of modules, each of which imports the next."""
    best: dict[str, list[str]] = {}
    for name in graphlib.TopologicalSorter({name: sorted(imports(name)) for name in sorted(modules())}).static_order():
        best[name] = [name, *max((best[target] for target in sorted(imports(name))), key=len, default=[])]
    return max(best.values(), key=len)


# Lengths -------------------------------------------------------------------------------------------------------------


def file_lengths() -> dict[str, int]:
    """Return the lines of each source file."""
    return {module.place: module.lines for module in modules().values()}


def function_lengths() -> dict[str, int]:
    """Return the lines of each function from its ``def`` on, docstring included: ``wildseg/cam/engine.py:run``."""
    found: dict[str, int] = {}

    def visit(node: ast.AST, where: str, place: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = where
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = f"{where}.{child.name}" if where else child.name
                if not isinstance(child, ast.ClassDef):
                    found[f"{place}:{inner}"] = (child.end_lineno or child.lineno) - child.lineno + 1
            visit(child, inner, place)

    for module in modules().values():
        visit(module.tree, "", module.place)
    return found


def too_long(lengths: Mapping[str, int], limit: int) -> dict[str, int]:
    """Return what has more lines than `limit`, longest first."""
    return dict(sorted(((name, n) for name, n in lengths.items() if n > limit), key=lambda item: -item[1]))


# dvc.yaml ------------------------------------------------------------------------------------------------------------


def code_dependencies() -> dict[str, int]:
    """Return how many dependencies of code each stage of dvc.yaml names."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: sum(dep.startswith("src/") for dep in stage["deps"]) for name, stage in stages.items()}


def pipeline_lines() -> int:
    """Return the lines of dvc.yaml."""
    return len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines())


# Adding --------------------------------------------------------------------------------------------------------------


def kinds() -> dict[str, list[str]]:
    """Return the folders of methods below ``methods``, each with the methods in it."""
    folders = sorted(path for path in (PACKAGE / "methods").iterdir() if path.is_dir() and path.name != "__pycache__")
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
        for folder in folders
    }


def mentions(kind: str) -> list[str]:
    """Return where the package lists methods of this kind: what has to be edited for a new one.

    A list is a literal (list, tuple, set, mapping, type) with the names of at least two methods, outside of their own.
    """
    names = set(kinds()[kind])
    lists = []
    for module in modules().values():
        if module.name.startswith(("wildseg_demo.", f"wildseg.methods.{kind}.")):
            continue
        for node in nodes(module.tree):
            parts = [*getattr(node, "elts", ()), *getattr(node, "keys", ())]
            texts = {part.value for part in parts if isinstance(part, ast.Constant)}
            if len(names & texts) > 1:
                lists.append(f"{module.place}:{node.lineno}")  # type: ignore[attr-defined]
    return lists


@cache
def sections() -> dict[str, dict[str, set[str]]]:
    """Return the sections of params.yaml, each with the fields of its dataclass and of those inside of it.

    A dataclass is named by its room, such as ``cam.Caa``.
    """
    (params,) = (node for node in _classes(PACKAGE / "execution" / "params.py") if node.name == "Params")
    found: dict[str, dict[str, set[str]]] = {}
    for field in _fields(params):
        for path in sorted(PACKAGE.glob("*/params.py")):
            classes = {node.name: node for node in _classes(path) if path.parent.name != "execution"}
            if (own := ast.unparse(field.annotation)) in classes:
                found[ast.unparse(field.target)] = {
                    f"{path.parent.name}.{name}": {ast.unparse(part.target) for part in _fields(classes[name])}
                    for name in _inside(own, classes)
                }
    return found


def _classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in parsed(path).body if isinstance(node, ast.ClassDef)]


def _fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [part for part in node.body if isinstance(part, ast.AnnAssign)]


def _inside(name: str, classes: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    yield name
    for field in _fields(classes[name]):
        if (inner := ast.unparse(field.annotation)) in classes:
            yield from _inside(inner, classes)


def taken_apart(section: str) -> list[str]:
    """Return where a section is taken apart outside of its room: what has to be edited for a new parameter of it.

    That is a call, list or mapping with at least two fields of the section, or of one inside of it, one by one.
    """
    places = []
    for module in modules().values():
        for line, names in _several(module.tree):
            owners = _sections_with(names)
            if section in {name for name, _ in owners} and module.room not in {room for _, room in owners}:
                places.append(f"{module.place}:{line}")
    return places


@cache
def _several(tree: ast.Module) -> list[tuple[int, set[str]]]:
    """Return where two or more attributes of one thing other than `self` are taken one by one: the line, and which."""
    return [
        (node.lineno, names)  # type: ignore[attr-defined]
        for node in nodes(tree)
        for base, names in _attributes(node).items()
        if len(names) > 1 and base != "self"
    ]


def _sections_with(names: set[str]) -> set[tuple[str, str]]:
    """Return which sections, with their rooms, have a dataclass with fields of all these names."""
    return {
        (section, name.partition(".")[0])
        for section, dataclasses in sections().items()
        for name, fields in dataclasses.items()
        if names <= fields
    }


def _attributes(node: ast.AST) -> dict[str, set[str]]:
    """Return the attributes among the parts of a call or display, by what they are attributes of."""
    parts: list[ast.expr | None] = []
    if isinstance(node, ast.Call):
        parts = [*node.args, *(keyword.value for keyword in node.keywords)]
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        parts = [*node.elts]
    elif isinstance(node, ast.Dict):
        parts = [*node.values]
    found: dict[str, set[str]] = {}
    for part in parts:
        if isinstance(part, ast.Attribute):
            found.setdefault(ast.unparse(part.value), set()).add(part.attr)
    return found


# The report ----------------------------------------------------------------------------------------------------------


def report() -> Iterator[str]:
    """Yield the lines of the report."""
    found = rooms()
    yield f"rooms: {len(found)} ({', '.join(found)})"
    yield f"loose modules: {len(loose())} {' '.join(loose())}".rstrip()
    chain = longest_chain() if not circle() else []
    yield f"longest import chain: {len(chain)} modules"
    yield "  " + " > ".join(name.removeprefix("wildseg.") for name in chain)
    yield f"circles, also through strings and inside functions: {' > '.join(circle()) or 'none'}"
    yield f"imports that point upwards: {', '.join(upward()) or 'none'}"
    yield from _lengths("file", file_lengths(), LONGEST_FILE)
    yield from _lengths("function", function_lengths(), LONGEST_FUNCTION)
    stages = ", ".join(f"{name} {number}" for name, number in code_dependencies().items())
    yield f"dvc.yaml: {pipeline_lines()} lines; dependencies of code: {stages}"
    yield "existing files to edit for a new method of a kind, beside the one new file:"
    for kind, methods in kinds().items():
        places = mentions(kind)
        yield f"  {kind}: {len(places)} ({len(methods)} methods exist) {' '.join(places)}".rstrip()
    yield "existing files to edit for a new parameter of a section, beside params.yaml and the room that uses it:"
    for section in sections():
        places = taken_apart(section)
        yield f"  {section}: {len(places)} {' '.join(places)}".rstrip()


def _lengths(what: str, lengths: Mapping[str, int], limit: int) -> Iterator[str]:
    ordered: Sequence[int] = sorted(lengths.values())
    tenth: Callable[[float], int] = lambda share: ordered[int(share * (len(ordered) - 1))]  # noqa: E731
    yield f"lines per {what}: median {statistics.median(ordered):g}, 90 % {tenth(0.9)}, of {len(ordered)}"
    largest = sorted(lengths.items(), key=lambda item: -item[1])[:5]
    yield "  largest: " + ", ".join(f"{name} {number}" for name, number in largest)
    long = too_long(lengths, limit)
    yield f"  above {limit}: {len(long)} {', '.join(long)}".rstrip()


if __name__ == "__main__":
    sys.stdout.write("\n".join(report()) + "\n")
