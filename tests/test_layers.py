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
from wildseg import source
from wildseg.artifacts import Artifacts, Frame
from wildseg.params import METHODS

ROOT = Path(__file__).parents[1]
FILES = sorted(source.PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]

# What each folder of the library may use beside itself. All may use GROUND.
GROUND = {"classes", "errors", "limits", "progress", "downloads"}
LIBRARY: dict[str, set[str]] = {
    "frames": set(),
    "encoders": set(),
    "labels": {"encoders", "cam"},
    "cam": {"encoders"},
    "crf": set(),
    "segment": {"metrics"},
    "metrics": set(),
    "report": set(),
    "explain": {"cam", "segment"},
    "engines": {"runtime", "source", "children"},
    "sample": {"encoders", "files", "entries", "source", "children", "project_lock"},
}
TOP = {"stages", "cli", "compare"}
SHARED = {"formats"}  # a folder of what all stages share
# Work on behalf of stages, of MLflow or of a command: on many frames with a trained network, on many sources with a
# key-frame method, on one frame with a trained network.
USES_THE_LIBRARY = (
    TOP
    | {"tracking_model", "inference", "selection", "known_photos", "asking", "words"}
    | {"explainer", "explanations", "detections", "calibrate", "agree", "preflight"}
)
HEAVY = {"torch", "torchvision", "open_clip", "transformers", "mlflow", "segmentation_models_pytorch", "timm"}
PLUGIN_FOLDERS = {source.PACKAGE.joinpath(*folder.split(".")) for _, _, folder, _ in METHODS}


def name(path: Path) -> str:
    return str(path.relative_to(source.PACKAGE))


def part(path: Path) -> str:
    """The folder of a file, or its own name at the top: ``crf``, ``stages``, ``params``."""
    return path.relative_to(source.PACKAGE).with_suffix("").parts[0]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """The parts that a file imports, also inside functions, except for type checkers."""
    return {part(found) for found in source.imports(tree(path))}


# Layers --------------------------------------------------------------------------------------------------------------


def test_every_folder_is_known_here() -> None:
    folders = {path.name for path in source.PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == {*LIBRARY, *SHARED, "stages", "compare"}


@pytest.mark.parametrize("path", [path for path in MODULES if part(path) in LIBRARY], ids=name)
def test_a_file_of_the_library_uses_only_what_lies_below_it(path: Path) -> None:
    allowed = {part(path), *GROUND, *LIBRARY[part(path)]}
    assert imported(path) <= allowed


@pytest.mark.parametrize("path", [path for path in MODULES if part(path) not in {*LIBRARY, *TOP}], ids=name)
def test_what_all_stages_share_imports_no_stage_and_no_concept(path: Path) -> None:
    forbidden = TOP if part(path) in USES_THE_LIBRARY else {*TOP, *LIBRARY}
    assert not imported(path) & forbidden


@pytest.mark.parametrize("path", [path for path in MODULES if part(path) == "stages"], ids=name)
def test_a_stage_imports_no_other_stage_and_not_the_command_line(path: Path) -> None:
    assert not imported(path) & TOP


def test_the_ground_stands_on_nothing_but_itself() -> None:
    for module in GROUND:
        assert imported(source.PACKAGE / f"{module}.py") <= GROUND


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {name(path): {name(found) for found in source.imports(tree(path))} for path in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, with the cycle


def test_a_method_is_loaded_by_its_name_and_never_imported() -> None:
    imports = {name(path): source.imports(tree(path)) for path in MODULES}
    assert [where for where, found in imports.items() if PLUGIN_FOLDERS & {path.parent for path in found}] == []


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
    found = source.closure(source.PACKAGE / "stages" / f"{stage}.py")
    plugins = [
        path for folder in found.plugin_folders for path in source.PACKAGE.joinpath(*folder.split(".")).glob("*.py")
    ]
    for path in [*found.files, *plugins]:
        if part(path) in {*LIBRARY, "stages"}:
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
    code = f"from click.testing import CliRunner; from wildseg.cli import main\nCliRunner().invoke(main, {command})"
    loaded = loaded_after(code)
    assert "click" in loaded
    assert not loaded & {*HEAVY, "numpy", "cv2", "PIL", "av", "scipy", "pandas", "dvc", "yaml"}


def test_checking_params_and_listing_methods_loads_no_network() -> None:
    code = (
        "from click.testing import CliRunner; from wildseg.cli import main\n"
        "assert CliRunner().invoke(main, ['methods']).exit_code == 0\n"
        f"from wildseg import params; params.load({str(ROOT / 'params.yaml')!r})"
    )
    assert not loaded_after(code) & {*HEAVY, "cv2", "av", "scipy", "pandas"}


WITHOUT_TORCH = f"""
import sys
for name in {sorted(HEAVY)}:
    sys.modules[name] = None  # importing it now fails
from wildseg.cli import main
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
