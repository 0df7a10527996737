"""What one source file says, read without running it: a digest of its code, and what other code it loads.

The digest is that of the syntax tree. Comments, docstrings, formatting and what is only there for type checkers change
no result and are no part of it; annotations are part of it, since dataclasses are made of them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

LOAD = "lookup.load"  # ``lookup.load("methods.cam", name)`` loads a method, see `wildseg.core.lookup`
IMPORT = "importlib.import_module"
# The last part of a name by which code is loaded or run that no import statement shows.
HIDDEN = frozenset(
    {"import_module", "__import__", "exec_module", "spec_from_file_location", "run_module", "run_path", "exec", "eval"}
)
SAID_BY_PLACE = frozenset({"ctx", "kind", "type_comment"})  # fields of syntax nodes that are left out of a digest


@dataclass(frozen=True)
class Import:
    """One import statement: ``from module import names``, or ``import module`` where `names` is empty.

    level: the number of dots of a relative import. renamed: ``import a.b as c``, which gives no access to all of a.
    """

    module: str
    names: tuple[str, ...] = ()
    level: int = 0
    renamed: bool = False


@dataclass(frozen=True)
class Source:
    """What is known of a file.

    digest: SHA-256 of its code, hex. imports: its import statements, at any depth. folders: from where it loads methods
    by name; ``module:NAME`` is a constant of another module. constants: (name, string) on the level of the module.
    opaque: it loads or runs code in a way that cannot be followed. inert: it holds only docstrings.
    """

    digest: str
    imports: tuple[Import, ...] = ()
    folders: tuple[str, ...] = ()
    constants: tuple[tuple[str, str], ...] = ()
    opaque: bool = False
    inert: bool = False


@cache
def parse(content: bytes) -> Source:
    """Read the content of a file; one that is not Python has the digest of its bytes, and is opaque."""
    try:
        tree = ast.parse(content)
        parts: list[str] = []
        _write(tree, parts)
    except (SyntaxError, ValueError, RecursionError):
        return Source(hashlib.sha256(content).hexdigest(), opaque=True)
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    constants = tuple(_constants(tree))
    # Few files load code by name, and a look at every expression takes as long as all the rest.
    loads_by_name = any(word.encode() in content for word in (*HIDDEN, "lookup"))
    folders, literal, opaque = _loads(tree, dict(constants)) if loads_by_name else ([], [], False)
    inert = all(map(_says_nothing, tree.body))
    return Source(digest, (*imports(tree), *literal), tuple(folders), constants, opaque, inert)


# The code without its comments ---------------------------------------------------------------------------------------


def _write(node: ast.AST, parts: list[str]) -> None:
    # What `ast.dump` does, in less time: the kind of a node, then its fields in order; atoms as Python writes them.
    parts.append(node.__class__.__name__)
    for name in ("orelse",) if isinstance(node, ast.If) and _for_checkers(node) else node._fields:
        if name in SAID_BY_PLACE:
            continue
        value = getattr(node, name)
        if isinstance(value, ast.AST):
            _write(value, parts)
        elif isinstance(value, list):
            parts.append("[")
            for item in value:
                if not isinstance(item, ast.AST):
                    parts.append(ascii(item))  # a name after `global`, or None for the key of ``{**more}``
                elif not _says_nothing(item):
                    _write(item, parts)
            parts.append("]")
        else:
            parts.append(ascii(value))


def _says_nothing(statement: ast.AST) -> bool:
    # A docstring or another value that stands alone, and what fills an empty block.
    alone = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return alone or isinstance(statement, ast.Pass)


def _for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and _dotted(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


# What it loads -------------------------------------------------------------------------------------------------------


def imports(tree: ast.AST) -> list[Import]:
    """Return the import statements of a syntax tree, also those inside functions, but not those for type checkers."""
    found: list[Import] = []
    for statement in _statements(tree):
        if isinstance(statement, ast.Import):
            found += [Import(alias.name, renamed=alias.asname is not None) for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            names = tuple(alias.name for alias in statement.names)
            found.append(Import(statement.module or "", names, statement.level))
    return found


def _statements(block: ast.AST) -> Iterator[ast.stmt]:
    """Yield all statements inside of `block` but those for type checkers; expressions hold none."""
    for part in ("orelse",) if _for_checkers(block) else ("body", "handlers", "cases", "orelse", "finalbody"):
        inner = getattr(block, part, ())
        for statement in inner if isinstance(inner, list) else ():  # the body of a lambda is an expression
            if isinstance(statement, ast.stmt):
                yield statement
            yield from _statements(statement)


def _loads(tree: ast.Module, constants: dict[str, str]) -> tuple[list[str], list[Import], bool]:
    """Return folders that methods are loaded from, imports by a literal, and whether code is loaded in another way."""
    nodes = list(ast.walk(tree))
    known = constants | {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in nodes if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    folders: list[str] = []
    literal: list[Import] = []
    followed: set[ast.expr] = set()
    for call in nodes:
        if not isinstance(call, ast.Call) or not call.args:
            continue
        argument, function = call.args[0], _dotted(call.func)
        name = _dotted(argument)  # in capitals: any other may be bound to something else
        text = argument.value if isinstance(argument, ast.Constant) else known.get(name) if name.isupper() else None
        if function == LOAD and isinstance(text, str):
            folders.append(text)
            followed.add(call.func)
        elif function == IMPORT and len(call.args) == 1 and isinstance(argument, ast.Constant):
            literal.append(Import(str(argument.value), renamed=True))
            followed.add(call.func)
    return folders, literal, any(_hides(node) for node in nodes if node not in followed)


def _hides(node: ast.AST) -> bool:
    """Return whether a node names what loads code by name, other than by a call that was followed."""
    if isinstance(node, ast.Import):
        return "wildseg.core.lookup" in {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        names = {alias.name for alias in node.names}
        renamed = any(alias.name == "lookup" and alias.asname not in (None, "lookup") for alias in node.names)
        return bool(names & HIDDEN) or renamed or (node.module == "wildseg.core.lookup" and bool(names & {"load", "*"}))
    if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
        return False  # also: a field that is called `eval`
    name = _dotted(node)
    last = name.rpartition(".")[2]
    return name == LOAD or (last in HIDDEN and (name == last or last not in ("exec", "eval")))  # not `network.eval()`


def _dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` of a name or of the attribute of one; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{owner}.{node.attr}" if (owner := _dotted(node.value)) else ""
    return ""


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from ((target.id, node.value.value) for target in node.targets if isinstance(target, ast.Name))
