"""Promises about the house: rooms and their order, no circle, short files, and a new method that is one file."""

from __future__ import annotations

import ast
import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from setuptools import find_packages

from tests import house
from tests.programs import python
from wildseg.core import lookup
from wildseg.core.lookup import METHODS

ROOT = house.ROOT

# Rooms and imports ---------------------------------------------------------------------------------------------------


def test_nothing_lies_beside_the_rooms_but_the_init() -> None:
    assert set(house.rooms()) == set(house.ROOMS)
    assert house.loose() == []


def test_each_room_opens_with_a_sentence_of_its_own() -> None:
    sentences = list(house.rooms().values())
    assert min(map(len, sentences)) > 20
    assert len(set(sentences)) == len(sentences)


def test_a_file_imports_only_from_its_own_room_and_those_below_also_by_a_string() -> None:
    assert house.upward() == []


def test_no_file_imports_itself_by_way_of_others_also_not_by_a_string_or_inside_a_function() -> None:
    assert house.circle() == []


def test_the_graph_has_what_statements_functions_and_strings_import() -> None:
    # So that the tests above do not pass because nothing is found.
    assert "wildseg.core.errors" in house.imports("wildseg.core.lookup")  # at the top
    assert "wildseg.execution.interruption" in house.imports("wildseg.cli.group")  # inside a function
    assert "wildseg.cli.inspect" in house.imports("wildseg.cli.main")  # a string
    engines = {"wildseg.execution.engines.local", "wildseg.execution.engines.ray"}
    assert engines <= house.imports("wildseg.execution.worker_pool")  # a folder, by the name of a constant
    stages = {f"wildseg.stages.{stage}" for stage in ("extract", "label")}
    assert stages <= house.imports("wildseg.cli.stages")  # a folder, at the beginning of a formatted string
    assert "wildseg.cli.main" not in house.reachable("wildseg.execution.launcher")  # a program of its own


@pytest.mark.parametrize(
    "code",
    [
        "from wildseg.stages import crf",
        "def later() -> None:\n    import wildseg.stages.crf",
        "MODULE = 'wildseg.stages.crf'",
        "def later(name: str) -> None:\n    importlib.import_module(f'wildseg.stages.{name}')",
        "def later(name: str) -> None:\n    lookup.load('stages', name)",
    ],
)
def test_an_import_that_points_upwards_would_be_found(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    low = house.modules()["wildseg.core.names"]
    monkeypatch.setitem(low.__dict__, "tree", ast.parse(code))
    assert "wildseg.core.names -> wildseg.stages.crf" in house.upward()
    assert "wildseg.core.names" in house.circle()


# Lengths -------------------------------------------------------------------------------------------------------------


def test_no_file_and_no_function_is_too_long_but_those_that_are_named() -> None:
    assert set(house.too_long(house.file_lengths(), house.LONGEST_FILE)) <= house.LONG_FILES
    assert set(house.too_long(house.function_lengths(), house.LONGEST_FUNCTION)) <= house.LONG_FUNCTIONS


def test_lengths_are_counted_from_def_to_the_last_line() -> None:
    lines = (house.PACKAGE / "core" / "lookup.py").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("def load("))
    length = next(number for number, line in enumerate(lines[start + 1 :], 1) if line.startswith("def ")) - 2
    assert house.function_lengths()["wildseg/core/lookup.py:load"] == length
    assert house.file_lengths()["wildseg/core/lookup.py"] == len(lines)


# A new method is one file --------------------------------------------------------------------------------------------

NEW = "brand_new"
SENTENCE = "A method that was added by writing this file and nothing else."


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source folder of a copy of the package, with one new file in each folder of methods."""
    source = tmp_path_factory.mktemp("extended") / "src"
    shutil.copytree(house.PACKAGE, source / "wildseg", ignore=shutil.ignore_patterns("__pycache__"))
    for kind, methods in house.kinds().items():
        folder = source / "wildseg" / "methods" / kind
        content = (folder / f"{methods[0]}.py").read_text(encoding="utf-8")
        (folder / f"{NEW}.py").write_text(f'"""{SENTENCE}"""\n' + content.split('"""', 2)[2], encoding="utf-8")
    return source


def test_the_methods_of_every_kind_can_be_chosen_by_a_name() -> None:
    folders = {folder for _, _, folder, _ in METHODS} | {lookup.DETECTORS}
    assert folders == {f"methods.{kind}" for kind in house.kinds()}


@pytest.mark.parametrize("kind", house.kinds())
def test_no_list_of_methods_has_to_be_extended(kind: str) -> None:
    assert house.mentions(kind) == []


def test_a_list_of_methods_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = house.modules()["wildseg.cam.engine"]
    monkeypatch.setitem(module.__dict__, "tree", ast.parse('KNOWN = Literal["gradcam", "hirescam"]'))
    assert house.mentions("cam") == ["wildseg/cam/engine.py:1"]


def test_wildseg_methods_lists_a_new_file_of_every_kind(extended: Path) -> None:
    answer = python("-m", "wildseg.cli", "methods", cwd=extended.parent, PYTHONPATH=str(extended))
    assert answer.code == 0, answer
    assert answer.output.count(f"  {NEW:<20} {SENTENCE}\n") == len(house.kinds())


def test_params_accept_a_new_file_of_every_kind(extended: Path, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, key, *_ in METHODS:
        content[section][key] = NEW
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    code = """
import json, wildseg
from wildseg.execution import params
values = params.load()
chosen = [getattr(getattr(values, section), key) for section, key, *_ in params.METHODS]
print(json.dumps([wildseg.__file__, chosen]))
"""
    answer = python("-c", code, cwd=tmp_path, PYTHONPATH=str(extended))
    assert answer.code == 0, answer
    package, chosen = json.loads(answer.output)
    assert Path(package).is_relative_to(extended)
    assert chosen == [NEW] * len(METHODS)


def test_a_new_key_frame_method_runs_by_its_name(extended: Path, tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("source: data/raw/field", "source: photos")
    (tmp_path / "params.yaml").write_text(text.replace("\n  method: absdiff", f"\n  method: {NEW}"))
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0)
    for number in range(5):
        photo = noise.integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(photo).save(tmp_path / "photos" / f"{number}.png")
    assert NEW in (tmp_path / "params.yaml").read_text()
    answer = python("-m", "wildseg.cli", "extract", cwd=tmp_path, PYTHONPATH=str(extended), WILDSEG_WORKERS="1")
    assert answer.code == 0, answer
    assert len(list((tmp_path / "data" / "frames").glob("*.jpg"))) > 1


def test_dvc_names_the_file_of_a_method_by_the_parameter_that_chooses_it() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    for section, key, folder, _ in METHODS:
        chosen = "" if key == "refine" else f"/${{{section}.{key}}}.py"  # no path can name a list
        assert f"- src/wildseg/{folder.replace('.', '/')}{chosen}\n" in text
        for name in lookup.available(folder):
            assert f"src/wildseg/{folder.replace('.', '/')}/{name}.py" not in text


# A new parameter is two places ---------------------------------------------------------------------------------------
# params.yaml and the room that uses it; tests/execution/test_adding_a_parameter.py adds one to each section.

SEVERAL = {
    "wildseg/cli/compare/measure.py",  # method and refinement name a row of a table
    "wildseg/cli/compare/run.py",
    "wildseg/stages/preflight.py",  # what names a network, compared with what the package ships
}


@pytest.mark.parametrize("section", house.sections())
def test_no_section_of_params_yaml_is_taken_apart_outside_of_its_room(section: str) -> None:
    assert {place.partition(":")[0] for place in house.taken_apart(section)} <= SEVERAL


def test_the_sections_are_those_of_the_shipped_params_yaml() -> None:
    shipped = yaml.safe_load((ROOT / "src/wildseg/execution/params.yaml").read_text())
    assert set(house.sections()) == {name for name, value in shipped.items() if isinstance(value, dict)} - {
        "classes",
        "colours",
    }
    assert house.sections()["cam"]["cam.Caa"] == set(shipped["cam"]["caa"])
    assert house.sections()["train"]["segment.Train"] == set(shipped["train"])


@pytest.mark.parametrize(
    "code",
    [
        "crf = DenseCrf(values.crf.iterations, values.crf.alpha)",
        "key = [crf.gaussian.weight, crf.gaussian.sxy]",
        "mask = pseudo_mask(image, alpha=params.crf.alpha, sharpen=params.crf.sharpen)",
        "parts = {'a': crf.alpha, 'b': crf.sharpen}",
    ],
)
def test_a_section_that_is_taken_apart_would_be_found(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = house.modules()["wildseg.stages.crf"]
    monkeypatch.setitem(module.__dict__, "tree", ast.parse(code))
    assert house.taken_apart("crf") == ["wildseg/stages/crf.py:1"]


def test_the_demo_is_no_part_of_the_installed_package() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    packages = set(find_packages(str(ROOT / "src"), include=found["include"]))
    assert {"wildseg", "wildseg.core", "wildseg.methods.cam"} <= packages
    assert not [package for package in packages if package.startswith("wildseg_demo")]
