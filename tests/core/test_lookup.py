"""A parameter's value is a file's name: what exists, what it accepts, and what happens to a name that does not."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from tests.programs import python
from wildseg.core import lookup
from wildseg.core.errors import ParamsError
from wildseg.execution.params import METHODS

EXISTING = [
    (folder, name, functions or (key,)) for _, key, folder, functions in METHODS for name in lookup.available(folder)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder of its own with two methods in ``kinds.methods``."""
    path = tmp_path / "kinds" / "methods"
    path.mkdir(parents=True)
    (path / "__init__.py").write_text('"""Methods."""\n')
    (path / "_shared.py").write_text('"""No method."""\n')
    (path / "plain.py").write_text('"""The plain one.\n\nMore."""\ndef go(x): ...\n')
    (path / "rich.py").write_text("import no_such_module\ndef go(x, y=1, *, width: int = 3, colour='red'): ...\n")
    monkeypatch.setattr(lookup, "PACKAGE", tmp_path)
    return path


def test_a_folder_lists_its_methods_in_order_and_nothing_private(folder: Path) -> None:
    assert lookup.available("kinds.methods") == ["plain", "rich"]
    (folder / "another.py").write_text("")
    assert lookup.available("kinds.methods") == ["another", "plain", "rich"]


def test_options_are_the_keyword_only_parameters_read_without_importing(folder: Path) -> None:
    assert lookup.option_names("kinds.methods", "rich", ("go",)) == ["width", "colour"]
    assert lookup.option_names("kinds.methods", "plain", ("go",)) == []


def test_the_first_line_of_the_docstring_describes_a_method(folder: Path) -> None:
    assert lookup.describe("kinds.methods", "plain") == "The plain one."
    assert lookup.describe("kinds.methods", "rich") == ""


def test_an_unknown_method_is_told_what_exists_and_what_is_nearest(folder: Path) -> None:
    with pytest.raises(ParamsError, match=r"^cam\.method: expected one of plain, rich; found 'plian'; did you mean"):
        lookup.check("kinds.methods", "plian", "cam.method")


@pytest.mark.parametrize("name", ["", "_shared", "__init__", "../methods/plain", "plain.py", "Plain", "kinds.plain"])
def test_only_a_file_of_the_folder_is_a_method(folder: Path, name: str) -> None:
    with pytest.raises(ParamsError, match="expected one of plain, rich"):
        lookup.load("kinds.methods", name)


def test_an_unknown_option_is_told_what_the_method_accepts(folder: Path) -> None:
    with pytest.raises(ParamsError, match=r"^k\.colours: rich has no such option; it accepts width, colour; did you m"):
        lookup.check_options("kinds.methods", "rich", ("go",), {"width": 1, "colours": 2}, "k")
    with pytest.raises(ParamsError, match=r"^k\.y: plain has no such option; it has no options$"):
        lookup.check_options("kinds.methods", "plain", ("go",), {"y": 1}, "k")


def test_a_method_without_its_function_is_told_so(folder: Path) -> None:
    with pytest.raises(ParamsError, match=r"plain\.py: expected a function walk\(\.\.\.\)"):
        lookup.option_names("kinds.methods", "plain", ("walk",))


@pytest.mark.parametrize(("folder", "name", "functions"), EXISTING)
def test_what_is_read_from_a_methods_source_is_what_python_sees(
    folder: str, name: str, functions: tuple[str, ...]
) -> None:
    module = lookup.load(folder, name)
    assert module is importlib.import_module(f"wildseg.{folder}.{name}")
    (function,) = (getattr(module, known) for known in functions if hasattr(module, known))
    parameters = inspect.signature(function).parameters.values()
    expected = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    assert lookup.option_names(folder, name, functions) == expected


@pytest.mark.parametrize(("folder", "name", "function"), EXISTING)
def test_every_method_says_what_it_is(folder: str, name: str, function: str) -> None:
    assert len(lookup.describe(folder, name)) > 20


def test_checking_a_method_imports_neither_it_nor_torch() -> None:
    code = (
        "import sys; from wildseg.core import lookup as plugins\n"
        "plugins.check('methods.cam', 'gradcam', 'cam.method')\n"
        "plugins.check_options('methods.cam', 'gradcam', ('cam',), {}, 'cam.options.gradcam')\n"
        "sys.exit('torch' in sys.modules or 'wildseg.methods.cam.gradcam' in sys.modules)"
    )
    assert python("-c", code).code == 0


def test_what_a_method_needs_is_read_from_its_source() -> None:
    assert lookup.needs("methods.labels", "clip") == {"encoder"}
    assert lookup.needs("methods.labels", "given") == frozenset()
    for name in lookup.available("methods.cam"):
        assert lookup.needs("methods.cam", name) == lookup.load("methods.cam", name).NEEDS
