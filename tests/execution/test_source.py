"""What is read from one source file: a digest of its code, and what other code it loads."""

from __future__ import annotations

import ast

import pytest

from wildseg.execution import fingerprint
from wildseg.execution.source import Import, imports, parse

FILES = sorted(fingerprint.SOURCE.rglob("*.py"))

CODE = '''"""What it is."""
from dataclasses import dataclass
LIMIT = 1
@dataclass
class Box:
    """A box."""
    side: int = 2
def area(box, *, scale=1.0):
    """Its area."""
    if box.side > LIMIT:
        return f"{box.side ** 2 * scale:.2f}", b"x"
    return "none"
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it is."""', '"""Something else.\n\nAt length.\n"""'),
        ('"""What it is."""\n', ""),
        ('    """Its area."""\n', "    # Its area.\n"),
        ('    """A box."""\n', "    pass\n"),
        ("LIMIT = 1", "LIMIT = (  # of sides\n    0x1\n)"),
        ('return "none"', "return 'no' \"ne\""),
        ("if box.side > LIMIT", "if (box.side) > (LIMIT)"),
        ("side: int = 2", 'side: int = 2\n    """Of all four sides."""'),
    ],
    ids=lambda text: text[:24],
)
def test_comments_docstrings_and_formatting_are_no_code(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert parse(CODE.replace(old, new).encode()).digest == parse(CODE.encode()).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 1", "LIMIT = 1.0"),
        ("LIMIT = 1", "LIMIT = True"),
        ("LIMIT = 1", "LIMIT = '1'"),
        ("LIMIT = 1", "LIMIT = -1"),
        ("LIMIT = 1", "LIMIT: int = 1"),
        ("LIMIT = 1", "LIMIT = LIMIT = 1"),
        ("LIMIT = 1\n", ""),
        ("@dataclass\n", ""),
        ("side: int = 2", "side: float = 2"),
        ("side: int = 2", "side = 2"),
        ("*, scale", "scale"),
        ("scale=1.0", "scale=1.5"),
        ("class Box:", "class Box(tuple):"),
        ("box.side > LIMIT", "box.side >= LIMIT"),
        ("box.side > LIMIT", "LIMIT > box.side"),
        ("** 2 * scale", "** (2 * scale)"),
        (".2f", ".3f"),
        ('b"x"', '"x"'),
        ('    return "none"', '        return "none"'),
        ('return "none"', 'return "None"'),
        ('return "none"', "return None"),
        ('return "none"', 'yield "none"'),
        ("    if box.side", "    while box.side"),
        ('"""Its area."""', 'global LIMIT\n    """Its area."""'),
    ],
    ids=lambda text: text[:24],
)
def test_whatever_python_runs_is_code(old: str, new: str) -> None:
    assert CODE.count(old) == 1
    assert parse(CODE.replace(old, new).encode()).digest != parse(CODE.encode()).digest


def test_no_two_files_of_the_package_have_the_same_code_but_those_that_have_none() -> None:
    whole = [parse(path.read_bytes()) for path in FILES]
    assert len({source.digest for source in whole if not source.inert}) == sum(not source.inert for source in whole)
    assert len({source.digest for source in whole if source.inert}) == 1


@pytest.mark.parametrize("room", sorted(path.name for path in fingerprint.PACKAGE.iterdir() if path.is_dir()))
def test_a_file_that_python_writes_anew_without_its_comments_has_the_same_digest(room: str) -> None:
    for path in sorted((fingerprint.PACKAGE / room).rglob("*.py")):
        content = path.read_bytes()
        bare = ast.unparse(ast.parse(content))
        assert parse(bare.encode()).digest == parse(content).digest, path


def test_imports_are_found_wherever_they_stand_but_those_for_type_checkers() -> None:
    code = """
import a
import b.c as d
from e import f, g as h
from . import i
from ..j import *
if TYPE_CHECKING:
    import no
elif x:
    import k
if typing.TYPE_CHECKING:
    import no
else:
    import l
if not TYPE_CHECKING:
    import m
def function():
    with y:
        try:
            import n
        except ImportError:
            import o
        else:
            import p
        finally:
            import q
    match z:
        case 1:
            import r
    class Inner:
        async def method(self):
            for _ in y:
                while x:
                    import s
"""
    found = imports(ast.parse(code))
    assert found[:5] == [Import("a"), Import("b.c", renamed=True), Import("e", ("f", "g")), Import("", ("i",), 1),
                         Import("j", ("*",), 2)]  # fmt: skip
    assert sorted(one.module for one in found[5:]) == list("klmnopqrs")


def test_what_only_type_checkers_see_is_no_code() -> None:
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
    assert parse(code.replace("import a", "import c").encode()).digest == parse(code.encode()).digest
    assert parse(code.replace("import b", "import c").encode()).digest != parse(code.encode()).digest


@pytest.mark.parametrize(
    ("code", "folders"),
    [
        ("lookup.load('methods.cam', name)", ["methods.cam"]),
        ("FOLDER = 'methods.cam'\ndef f(): return lookup.load(FOLDER, name)", ["methods.cam"]),
        ("from wildseg.core.lookup import DETECTORS\nlookup.load(DETECTORS, name)", ["wildseg.core.lookup:DETECTORS"]),
        ("[lookup.load('a', x) for x in y] + [lookup.load('b', x) for x in y]", ["a", "b"]),
    ],
)
def test_folders_of_methods_are_found(code: str, folders: list[str]) -> None:
    source = parse(f"from wildseg.core import lookup\n{code}\n".encode())
    assert (list(source.folders), source.opaque) == (folders, False)


@pytest.mark.parametrize(
    "code",
    [
        "from wildseg.core import lookup\nlookup.load(folder, name)",
        "from wildseg.core import lookup\nfolder = 'methods.cam'\nlookup.load(folder, name)",
        "from wildseg.core import lookup\nlookup.load(f'methods.{kind}', name)",
        "from wildseg.core import lookup\nlookup.load(name='x', folder='methods.cam')",
        "from wildseg.core import lookup\nlookup.load('methods.cam', name)\nload = partial(lookup.load, 'methods.cam')",
        "from wildseg.core import lookup as methods\nmethods.load('methods.cam', name)",
        "from wildseg.core.lookup import load",
        "from wildseg.core.lookup import *",
        "import wildseg.core.lookup",
        "import importlib\nimportlib.import_module(f'wildseg.{name}')",
        "import importlib\nimportlib.import_module('.cam', 'wildseg')",
        "import importlib as i\ni.import_module('wildseg.cam')",
        "from importlib import import_module",
        "from importlib.util import spec_from_file_location",
        "__import__('wildseg.cam')",
        "exec(text)",
        "eval(text)",
        "import runpy\nrunpy.run_module(name)",
        "this is no Python",
        "x = 1\0",
    ],
)
def test_what_cannot_be_followed_is_opaque(code: str) -> None:
    assert parse(code.encode()).opaque


def test_a_network_in_evaluation_mode_and_a_table_of_methods_are_not_opaque() -> None:
    source = parse(
        b"from wildseg.core import lookup\nnetwork.eval()\nlookup.needs('methods.cam', name)\neval: int = 1\n"
    )
    assert not source.opaque
    assert source.folders == ()


def test_a_literal_given_to_import_module_is_an_import() -> None:
    source = parse(b"import importlib\nimportlib.import_module('wildseg.cam.maps')\n")
    assert source.imports[1:] == (Import("wildseg.cam.maps", renamed=True),)
    assert not source.opaque


def test_nested_beyond_what_python_reads_is_opaque_and_has_a_digest() -> None:
    deep, deeper = (f"x = {'(' * depth}1{')' * depth}\n".encode() for depth in (300, 301))
    assert parse(deep).opaque
    assert parse(deep).digest != parse(deeper).digest
