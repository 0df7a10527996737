"""What a room may know of another, and what must start fast does not load what is heavy.

That imports point downwards, without a circle, is in tests/test_house.py.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wildseg
from tests.house import PACKAGE, Module, imports, modules, nodes, parsed, reachable
from tests.programs import python
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cli.main import STAGES
from wildseg.execution import params

ROOT = Path(__file__).parents[1]
MODULES = {name: module for name, module in modules().items() if name.startswith("wildseg.")}
FILES = sorted(PACKAGE.rglob("*.py"))

CONCEPTS = ("segment", "labels", "cam", "training", "frames", "crf", "encoders", "metrics", "report", "exchange")
HEAVY = {"torch", "torchvision", "open_clip", "transformers", "mlflow", "segmentation_models_pytorch", "timm"}


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def in_rooms(*names: str) -> list[str]:
    """The modules that lie in one of some rooms."""
    return [dotted for dotted, module in MODULES.items() if module.room in names]


# Rooms ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", in_rooms(*CONCEPTS))
def test_a_concept_knows_nothing_of_params_yaml_and_of_what_stages_leave(module: str) -> None:
    assert not imports(module) & {"wildseg.execution.params", "wildseg.core.yaml_files"}
    assert not {modules()[found].room for found in imports(module)} & {"artifacts", "execution", "stages"}


@pytest.mark.parametrize("module", in_rooms("stages"))
def test_the_six_stages_import_no_other_stage(module: str) -> None:
    assert not imports(module) & {f"wildseg.stages.{stage}" for stage in STAGES}


def statements(module: Module) -> set[str]:
    """The modules that statements import: what is loaded by a name is left out."""
    froms = [node for node in nodes(module.tree) if isinstance(node, ast.ImportFrom) and node.module]
    found = {f"{node.module}.{alias.name}" for node in froms for alias in node.names} | {node.module for node in froms}
    return found & set(modules())


def test_a_method_is_loaded_by_its_name_and_never_imported() -> None:
    methods = {dotted for dotted in MODULES if dotted.startswith("wildseg.methods.") and dotted.count(".") == 3}
    assert len(methods) > 20
    assert [dotted for dotted, module in MODULES.items() if statements(module) & methods] == []


def test_the_product_does_not_import_the_demo() -> None:
    assert [dotted for dotted, module in MODULES.items() if "wildseg_demo" in packages(module.path)] == []


def test_imports_are_absolute_and_take_no_star() -> None:
    found = [(name(path), node) for path in FILES for node in nodes(parsed(path))]
    froms = [(where, node) for where, node in found if isinstance(node, ast.ImportFrom)]
    assert [where for where, node in froms if node.level or "*" in {alias.name for alias in node.names}] == []


def test_the_init_of_a_folder_holds_only_a_docstring() -> None:
    bodies = {name(path): parsed(path).body for path in FILES if path.name == "__init__.py"}
    docstrings = {where for where, body in bodies.items() if len(body) == 1 and isinstance(body[0], ast.Expr)}
    assert docstrings == set(bodies) - {"__init__.py"}


def test_the_init_of_the_package_imports_public_names_for_type_checkers_alone() -> None:
    # What it imports when a name is first used is tested in tests/test_api.py.
    init = parsed(PACKAGE / "__init__.py")
    assert [
        node for node in init.body if isinstance(node, ast.Import | ast.ImportFrom) and "wildseg" in ast.unparse(node)
    ] == []
    checked = [node for node in init.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    named = [alias.name for block in checked for node in block.body for alias in node.names]  # type: ignore[attr-defined]
    assert sorted(named) == sorted(wildseg.__all__)


def test_every_file_opens_with_a_sentence_that_says_what_it_is() -> None:
    first = {name(path): (ast.get_docstring(parsed(path)) or "").split("\n", 1)[0] for path in FILES}
    assert [where for where, sentence in first.items() if len(sentence) < 20] == []


# Weight --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["extract", "crf"])
def test_no_concept_of_extract_and_crf_names_torch_not_even_inside_a_function(stage: str) -> None:
    found = reachable(f"wildseg.stages.{stage}")
    assert len(found) > 20
    for module in found & set(in_rooms(*CONCEPTS, "methods", "stages")):
        assert not packages(MODULES[module].path) & {*HEAVY, "safetensors"}, module


def packages(path: Path) -> set[str]:
    names: set[str] = set()
    for node in nodes(parsed(path)):
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
        ["predict", "--help"],
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
    frames = [Frame(f"a_{index:06d}", "a", index, None, "train") for index in range(2)]
    artifacts.save_frames(frames)
    names = params.load(tmp_path / "params.yaml").classes.names
    artifacts.save_priors([frame.name for frame in frames], names, np.ones((2, len(names))))
    return artifacts


def test_extract_works_where_torch_cannot_be_imported(project: Artifacts) -> None:
    answer = python("-c", WITHOUT_TORCH, "extract", cwd=project.root, WILDSEG_WORKERS="1")
    assert answer.code == 0, answer
    assert len(project.load_frames()) > 1


def test_crf_works_where_torch_cannot_be_imported(project: Artifacts) -> None:
    answer = python("-c", WITHOUT_TORCH, "crf", cwd=project.root, WILDSEG_WORKERS="1")
    assert answer.code == 0, answer
    assert project.load_mask("a_000000").shape == (32, 48)
