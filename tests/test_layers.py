"""Imports point downwards only, and what must start fast does not load what is heavy."""

from __future__ import annotations

import ast
import graphlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.programs import python
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cli.main import STAGES
from wildseg.core import lookup
from wildseg.execution import fingerprint
from wildseg.execution.params import METHODS

ROOT = Path(__file__).parents[1]
FILES = sorted(fingerprint.PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]

# The rooms, each above those that it may import from.
ROOMS = (
    "cli", "stages", "report", "tracking", "methods", "artifacts", "execution", "exchange",
    "segment", "labels", "cam", "training", "frames", "crf", "encoders", "metrics", "core",
)  # fmt: skip
CONCEPTS = ("segment", "labels", "cam", "training", "frames", "crf", "encoders", "metrics", "report", "exchange")
HEAVY = {"torch", "torchvision", "open_clip", "transformers", "mlflow", "segmentation_models_pytorch", "timm"}
FOLDERS = {folder for _, _, folder, _ in METHODS} | {lookup.DETECTORS}
METHOD_FOLDERS = {fingerprint.PACKAGE.joinpath(*folder.split(".")) for folder in FOLDERS}


def name(path: Path) -> str:
    return str(path.relative_to(fingerprint.PACKAGE))


def room(path: Path) -> str:
    """The folder below the package that a file lies in: ``crf``, ``stages``, ``core``."""
    return path.relative_to(fingerprint.PACKAGE).parts[0]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """The rooms that a file imports from, also inside functions and by the name of a method's folder."""
    found = {room(file) for file in fingerprint.imports(tree(path))}
    return found | {folder.split(".")[0] for folder in loaded_folders(path)}


def loaded_folders(path: Path) -> set[str]:
    """The folders whose modules a file loads by name: ``lookup.load("methods.cam", ...)``."""
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) in ("lookup.load", "importlib.import_module")]
    return {folder for call in loads for folder in FOLDERS if folder in ast.unparse(call.args[0])}


# Rooms ---------------------------------------------------------------------------------------------------------------


def test_nothing_lies_beside_the_rooms_but_the_init() -> None:
    found = {path.name for path in fingerprint.PACKAGE.iterdir() if path.name != "__pycache__"}
    assert found == {*ROOMS, "__init__.py"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_file_imports_only_from_its_own_room_and_those_below(path: Path) -> None:
    below = ROOMS[ROOMS.index(room(path)) :]
    assert imported(path) <= set(below)


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in CONCEPTS], ids=name)
def test_a_concept_knows_nothing_of_params_yaml_and_of_what_stages_leave(path: Path) -> None:
    assert not {name(file) for file in fingerprint.imports(tree(path))} & {"execution/params.py", "core/yaml_files.py"}
    assert not imported(path) & {"artifacts", "execution", "stages"}


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) == "stages"], ids=name)
def test_the_six_stages_import_no_other_stage(path: Path) -> None:
    stages = {f"stages/{stage}.py" for stage in STAGES} - {name(path)}
    assert not {name(file) for file in fingerprint.imports(tree(path))} & stages


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {name(path): {name(found) for found in fingerprint.imports(tree(path))} for path in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, with the cycle


def test_a_method_is_loaded_by_its_name_and_never_imported() -> None:
    imports = {name(path): fingerprint.imports(tree(path)) for path in MODULES}
    assert [where for where, found in imports.items() if METHOD_FOLDERS & {path.parent for path in found}] == []


def test_the_product_does_not_import_the_demo() -> None:
    assert [name(path) for path in MODULES if "wildseg_demo" in packages(path)] == []


def test_imports_are_absolute_and_take_no_star() -> None:
    statements = [(name(path), node) for path in FILES for node in ast.walk(tree(path))]
    froms = [(where, node) for where, node in statements if isinstance(node, ast.ImportFrom)]
    assert [where for where, node in froms if node.level or "*" in {alias.name for alias in node.names}] == []


def test_the_init_of_a_folder_holds_only_a_docstring() -> None:
    bodies = {name(path): tree(path).body for path in FILES if path.name == "__init__.py"}
    docstrings = {where for where, body in bodies.items() if len(body) == 1 and isinstance(body[0], ast.Expr)}
    assert docstrings == set(bodies)


def test_every_file_opens_with_a_sentence_that_says_what_it_is() -> None:
    first = {name(path): (ast.get_docstring(tree(path)) or "").split("\n", 1)[0] for path in FILES}
    assert [where for where, sentence in first.items() if len(sentence) < 20] == []


# Weight --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["extract", "crf"])
def test_no_concept_of_extract_and_crf_names_torch_not_even_inside_a_function(stage: str) -> None:
    found = fingerprint.closure(fingerprint.PACKAGE / "stages" / f"{stage}.py")
    methods = [
        path
        for folder in found.plugin_folders
        for path in fingerprint.PACKAGE.joinpath(*folder.split(".")).glob("*.py")
    ]
    for path in [*found.files, *methods]:
        if room(path) in {*CONCEPTS, "methods", "stages"}:
            assert not packages(path) & {*HEAVY, "safetensors"}, name(path)


def packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def loaded_after(code: str) -> set[str]:
    answer = python("-c", f"{code}\nimport sys\nprint('modules:', *(name for name in sys.modules if '.' not in name))")
    assert answer.code == 0, answer
    return set(answer.output.rsplit("modules:", 1)[1].split())


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["--version"],
        ["extract", "--help"],
        ["train", "--help"],
        ["explain", "--help"],
        ["detect", "--help"],
    ],
)
def test_help_loads_nothing_that_takes_time(command: list[str]) -> None:
    code = (
        f"from click.testing import CliRunner; from wildseg.cli.main import main\nCliRunner().invoke(main, {command})"
    )
    loaded = loaded_after(code)
    assert "click" in loaded
    assert not loaded & {*HEAVY, "numpy", "cv2", "PIL", "av", "scipy", "pandas", "dvc", "yaml"}


def test_checking_params_and_listing_methods_loads_no_network() -> None:
    code = (
        "from click.testing import CliRunner; from wildseg.cli.main import main\n"
        "assert CliRunner().invoke(main, ['methods']).exit_code == 0\n"
        f"from wildseg.execution import params; params.load({str(ROOT / 'params.yaml')!r})"
    )
    assert not loaded_after(code) & {*HEAVY, "cv2", "av", "scipy", "pandas"}


WITHOUT_TORCH = f"""
import sys
for name in {sorted(HEAVY)}:
    sys.modules[name] = None  # importing it now fails
from wildseg.cli.main import main
main()
"""


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    """A pipeline with five photos, and two key frames with maps."""
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text().replace("source: data/raw/field", "source: photos")
    )
    noise = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(5):
        photo = noise.integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(photo).save(tmp_path / "photos" / f"{number}.png")
    artifacts = Artifacts(tmp_path)
    for index, present in enumerate(([0, 3], [])):
        artifacts.save_image(f"a_{index:06d}", photo)
        artifacts.save_maps(f"a_{index:06d}", np.array(present), noise.random((len(present), 4, 6)))
    artifacts.save_frames([Frame(f"a_{index:06d}", "a", index, None, "train") for index in range(2)])
    return artifacts


def test_extract_works_where_torch_cannot_be_imported(project: Artifacts) -> None:
    answer = python("-c", WITHOUT_TORCH, "extract", cwd=project.root, WILDSEG_WORKERS="1")
    assert answer.code == 0, answer
    assert len(project.load_frames()) > 1


def test_crf_works_where_torch_cannot_be_imported(project: Artifacts) -> None:
    answer = python("-c", WITHOUT_TORCH, "crf", cwd=project.root, WILDSEG_WORKERS="1")
    assert answer.code == 0, answer
    assert project.load_mask("a_000000").shape == (32, 48)
