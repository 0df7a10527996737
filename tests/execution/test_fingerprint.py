"""The fingerprint of the code behind a result."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Mapping
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from wildseg.execution import fingerprint

Task = tuple[str, ...]  # the module that computes a result, and the methods that it is told to load


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package to edit."""
    return edited(tmp_path, monkeypatch)


def edited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy(folder)
    monkeypatch.setattr(fingerprint, "PACKAGE", folder / "wildseg")
    monkeypatch.setattr(fingerprint, "SOURCE", folder)
    return folder / "wildseg"


def copy(folder: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    for name in fingerprint.PACKAGES:
        shutil.copytree(fingerprint.SOURCE / name, folder / name, ignore=ignore)


# Every task of the package -------------------------------------------------------------------------------------------


def tasks() -> list[Task]:
    """Every module that computes a result which is kept, with the first method of each folder it loads one from."""
    files = sorted(fingerprint.SOURCE.rglob("*.py"))
    calls = [node for path in files for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call)]
    arguments = [call.args[0] for call in calls if ast.unparse(call.func) == "fingerprint.digest"]
    starts = {argument.value for argument in arguments if isinstance(argument, ast.Constant)}
    starts |= {dotted(path) for path in (fingerprint.PACKAGE / "stages" / "tasks").glob("[!_]*.py")}
    starts |= {dotted(path) for path in (fingerprint.PACKAGE / "stages").glob("*/task.py")}
    starts |= {"wildseg_demo.world.world"}  # of `wildseg_demo.world.drive`
    starts |= {f"wildseg.labels.language.{client}" for client in ("local", "server")}  # of `label_inference`
    return [(start, *methods(start)) for start in sorted(starts)]


def methods(module: str) -> list[str]:
    start = fingerprint.SOURCE.joinpath(*module.split(".")).with_suffix(".py")
    folders = sorted(fingerprint.closure(start).plugin_folders)
    places = [fingerprint.PACKAGE.joinpath(*folder.split(".")) for folder in folders]
    return [dotted(min(place.glob("[!_]*.py"))) for place in places]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(fingerprint.SOURCE).with_suffix("").parts)


TASKS = tasks()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Task, set[str]]:
    """The files that each task imports, as Python's own `modulefinder` finds them, but for what decides no result."""
    folder = tmp_path_factory.mktemp("used")
    copy(folder)
    (folder / "wildseg" / "__init__.py").write_text("")  # the public API may import anything
    for path in folder.rglob("*.py"):
        path.write_text(path.read_text().replace("if TYPE_CHECKING:", "if False:"))
    left_out = {f"wildseg.{name.removesuffix('.py').replace('/', '.')}" for name in fingerprint.DECIDES_NO_RESULT}
    found = {}
    for task in TASKS:
        finder = ModuleFinder([str(folder)], excludes=sorted(left_out))
        for module in task:
            finder.import_hook(module)
        files = [Path(module.__file__) for module in finder.modules.values() if module.__file__]
        found[task] = {str(path.relative_to(folder)) for path in files if path.name != "__init__.py"}
    return found


def test_there_are_tasks_of_every_kind(used: Mapping[Task, set[str]]) -> None:
    everything = set().union(*used.values())
    rooms = {"artifacts", "cam", "crf", "encoders", "frames", "labels", "methods", "segment", "stages"}
    assert rooms <= {Path(path).parts[1] for path in everything if path.startswith("wildseg/")}
    assert all(len(files) > 3 for files in used.values())


def test_a_comment_and_another_docstring_in_every_file_change_no_fingerprint(package: Path) -> None:
    before = [fingerprint.digest(*task) for task in TASKS]
    files = sorted(package.parent.rglob("*.py"))
    for path in files:
        remark(path)
    assert len(files) > 250
    assert [fingerprint.digest(*task) for task in TASKS] == before


def remark(path: Path) -> None:
    """Put comments into a file, and words at the end of each docstring."""
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            end, column = node.body[0].end_lineno, node.body[0].end_col_offset
            line = lines[end - 1]
            assert line[:column].endswith(b'"""')
            lines[end - 1] = line[: column - 3] + b' More of it."""  # a remark' + line[column:]
    path.write_bytes(b"# a remark\n" + b"".join(lines) + b"\n\n# another\n")
    assert ast.dump(ast.parse(path.read_bytes())) != ast.dump(ast.parse(content)) or b'"""' not in content


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task[0].partition(".")[2])
def test_an_edit_changes_the_fingerprint_of_exactly_the_tasks_that_import_the_file(
    package: Path, used: Mapping[Task, set[str]], task: Task
) -> None:
    before = fingerprint.digest(*task)
    for name in used[task]:
        path = package.parent / name
        content = path.read_bytes()
        path.write_bytes(content + b"\n_EDITED = 1\n")
        assert fingerprint.digest(*task) != before, name
        path.write_bytes(content)
    for path in package.parent.rglob("*.py"):
        if str(path.relative_to(package.parent)) not in used[task] and path.name != "__init__.py":
            path.write_bytes(path.read_bytes() + b"\n_EDITED = 1\n")
    (package / "__init__.py").write_text("from wildseg.crf import dense\n")
    assert fingerprint.digest(*task) == before


def test_it_does_not_depend_on_where_the_package_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lies_here = [fingerprint.digest(*task) for task in TASKS]
    edited(tmp_path, monkeypatch)
    assert [fingerprint.digest(*task) for task in TASKS] == lies_here


def test_the_chosen_method_is_part_of_it() -> None:
    for module, *chosen in TASKS:
        for method in chosen:
            folder = fingerprint.SOURCE.joinpath(*method.split(".")).parent
            every = [dotted(path) for path in sorted(folder.glob("[!_]*.py"))[:4]]
            found = {fingerprint.digest(module, *(set(chosen) - {method}), one) for one in every}
            assert len(found) == len(every) > 1, module


def test_nothing_that_decides_a_result_reads_docstrings_or_its_own_source(used: Mapping[Task, set[str]]) -> None:
    words = ("__doc__", "getdoc", "getsource", "get_docstring", "co_code")
    for name in sorted(set().union(*used.values())):
        text = (fingerprint.SOURCE / name).read_text()
        assert not [word for word in words if word in text], name


def test_the_package_holds_no_data_that_a_result_could_depend_on() -> None:
    files = {path for path in fingerprint.PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {path.relative_to(fingerprint.PACKAGE).parts[0] for path in files} == {"cli", "execution", "report"}


def test_what_is_left_out_exists() -> None:
    assert [name for name in fingerprint.DECIDES_NO_RESULT if not (fingerprint.PACKAGE / name).exists()] == []


# A small package -----------------------------------------------------------------------------------------------------

SMALL = {
    "__init__.py": "from wildseg.core import lookup\ndef __getattr__(name):\n    return lookup.load(name, name)\n",
    "stages/task.py": "from wildseg.room import one\nfrom wildseg.core import lookup\nlookup.load('methods.cam', x)\n",
    "room/__init__.py": '"""A room."""\n',
    "room/one.py": "",
    "room/two.py": "",
    "other/__init__.py": "",
    "other/three.py": "",
    "core/lookup.py": "import importlib\ndef load(folder, name):\n    return importlib.import_module(name)\n",
    "core/progress.py": "from wildseg.other import three\n",
    "execution/store.py": "from wildseg.other import three\n",
    "methods/cam/a.py": "from wildseg.room import two\n",
    "methods/cam/b.py": "from wildseg.other import three\n",
    "methods/cam/_shared.py": "",
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a few files."""
    folder = tmp_path / "wildseg"
    for name, text in SMALL.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(fingerprint, "PACKAGE", folder)
    monkeypatch.setattr(fingerprint, "SOURCE", tmp_path)
    return folder


def counted(folder: Path, *methods: str) -> set[str]:
    """The files whose edit changes the fingerprint of ``stages/task.py``."""
    names = [f"wildseg.methods.cam.{method}" for method in methods]
    before = fingerprint.digest("wildseg.stages.task", *names)
    found = set()
    for path in folder.rglob("*.py"):
        content = path.read_text()
        path.write_text(f"{content}\nedited = 1\n")
        if fingerprint.digest("wildseg.stages.task", *names) != before:
            found.add(str(path.relative_to(folder)))
        path.write_text(content)
    return found


ALWAYS = {"stages/task.py", "room/one.py", "room/__init__.py"}


def test_the_chosen_method_counts_with_its_imports_and_no_other(small: Path) -> None:
    assert counted(small, "a") == {*ALWAYS, "methods/cam/a.py", "room/two.py"}
    assert counted(small, "b") == {*ALWAYS, "methods/cam/b.py", "other/three.py", "other/__init__.py"}


def test_all_methods_of_a_folder_count_if_none_was_chosen(small: Path) -> None:
    methods = {"methods/cam/a.py", "methods/cam/b.py", "methods/cam/_shared.py"}
    assert counted(small) == {*ALWAYS, *methods, "room/two.py", "other/three.py", "other/__init__.py"}


def test_a_method_that_loads_others_of_its_kind_counts_with_all_of_them(small: Path) -> None:
    (small / "methods/cam/a.py").write_text("from wildseg.core import lookup\nlookup.load('methods.cam', name)\n")
    assert {"methods/cam/a.py", "methods/cam/b.py", "other/three.py"} <= counted(small, "a")


def test_a_loader_beside_the_kinds_of_methods_counts_with_the_chosen_one_alone(small: Path) -> None:
    (small / "stages/task.py").write_text("from wildseg.methods import loader\n")
    (small / "methods/loader.py").write_text("from wildseg.core import lookup\nlookup.load('methods.cam', name)\n")
    assert counted(small, "a") == {"stages/task.py", "methods/loader.py", "methods/cam/a.py", "room/two.py",
                                   "room/__init__.py"}  # fmt: skip
    assert {"methods/cam/a.py", "methods/cam/b.py"} <= counted(small)


def test_the_folder_of_methods_may_be_a_constant_of_another_module(small: Path) -> None:
    (small / "room/one.py").write_text("FOLDER = 'methods.cam'\n")
    task = "from wildseg.room.one import FOLDER\nfrom wildseg.core import lookup\nlookup.load(FOLDER, x)\n"
    (small / "stages/task.py").write_text(task)
    assert counted(small, "a") == {*ALWAYS, "methods/cam/a.py", "room/two.py"}


@pytest.mark.parametrize(
    ("statement", "more"),
    [
        ("from wildseg.other.three import x", {"other/three.py", "other/__init__.py"}),
        ("from ..other import three", {"other/three.py", "other/__init__.py"}),
        ("from ..other.three import x", {"other/three.py", "other/__init__.py"}),
        ("from . import two", {"room/two.py"}),
        ("from .two import x", {"room/two.py"}),
        ("import wildseg.other.three as t", {"other/three.py", "other/__init__.py"}),
        ("import importlib\nimportlib.import_module('wildseg.room.two')", {"room/two.py"}),
        ("from wildseg.other import *", {"other/three.py", "other/__init__.py"}),
        ("from wildseg import other", {"other/three.py", "other/__init__.py"}),
        ("import wildseg.other as o", {"other/three.py", "other/__init__.py"}),
        ("def f():\n    from wildseg.room import two", {"room/two.py"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from wildseg.room import two", set()),
        ("from wildseg.core import progress", set()),
        ("from wildseg.execution import store", set()),
        ("import numpy, wildsegment.room", set()),
        ("from wildseg.room import nothing", set()),
    ],
)
def test_every_way_to_import_is_followed(small: Path, statement: str, more: set[str]) -> None:
    (small / "room/one.py").write_text(f"{statement}\n")
    assert counted(small, "a") == {*ALWAYS, "methods/cam/a.py", "room/two.py", *more}


@pytest.mark.parametrize(
    "statement",
    [
        "import importlib\nimportlib.import_module(name)",
        "import wildseg",
        "import wildseg.room.two",  # gives access to all of wildseg
        "from wildseg import load_clip",  # of the public API
        "from wildseg.core.lookup import load",
        "from wildseg.other.three import FOLDER\nfrom wildseg.core import lookup\nlookup.load(FOLDER, x)",
        "exec(text)",
        "no Python",
    ],
)
def test_where_code_cannot_be_followed_everything_counts_that_could_decide_a_result(
    small: Path, statement: str
) -> None:
    (small / "room/one.py").write_text(f"{statement}\n")
    everything = {name for name in SMALL if not name.startswith(("core", "execution"))}
    assert counted(small, "a") >= everything - {"__init__.py"}


def test_what_a_package_exports_is_followed(small: Path) -> None:
    (small / "room/__init__.py").write_text("from wildseg.other.three import x\n")
    assert counted(small, "a") >= {"room/__init__.py", "other/three.py"}
    (small / "room/one.py").write_text("from wildseg.other import x\n")
    (small / "other/__init__.py").write_text("from wildseg.methods.cam.b import x\n")
    assert counted(small, "a") >= {"other/__init__.py", "methods/cam/b.py"}


def test_a_file_that_appears_where_an_import_looks_for_it_changes_it(small: Path) -> None:
    (small / "room/one.py").write_text(
        "try:\n    from wildseg.room import late\nexcept ImportError:\n    late = None\n"
    )
    before = fingerprint.digest("wildseg.stages.task", "wildseg.methods.cam.a")
    (small / "room/late.py").write_text("x = 1\n")
    assert fingerprint.digest("wildseg.stages.task", "wildseg.methods.cam.a") != before


def test_what_an_editor_leaves_in_a_folder_changes_nothing(small: Path) -> None:
    before = fingerprint.digest("wildseg.stages.task"), fingerprint.fingerprint()
    (small / "methods/cam/.#a.py").symlink_to("person@machine.1")
    (small / "methods/cam/.a.py.swp").write_bytes(b"\0")
    (small / "methods/cam/a.py~").write_text("x = 1\n")
    assert (fingerprint.digest("wildseg.stages.task"), fingerprint.fingerprint()) == before


def test_a_method_that_does_not_exist_is_an_error(small: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"methods/cam/c\.py"):
        fingerprint.digest("wildseg.stages.task", "wildseg.methods.cam.c")


def test_the_hash_of_all_code_changes_with_every_byte_of_it(small: Path) -> None:
    before = fingerprint.fingerprint()
    (small / "core/progress.py").write_text(f"{SMALL['core/progress.py']}# a remark\n")
    assert fingerprint.fingerprint() != before
