"""dvc.yaml names exactly what each stage reads: rooms of code, parameters, and the files of earlier stages."""

from __future__ import annotations

import ast
import configparser
import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from dvc_render.vega import VegaRenderer

from tests.browser import CHROMIUM, browser
from wildseg.artifacts.project import Artifacts
from wildseg.cli.main import STAGES
from wildseg.execution import fingerprint, params
from wildseg.report.method_table import COLUMNS

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
METHOD_FILES = {
    folder: f"src/wildseg/{folder.replace('.', '/')}/${{{section}.{key}}}.py"
    for section, key, folder, *_ in params.METHODS
} | {"methods.refine": "src/wildseg/methods/refine"}  # of which a list may be chosen, which no path can name
# The CAM method that reads the network of another.
READER = "src/wildseg/methods/cam/${cam.options.classifier.map}.py"


def code(start: Path) -> set[str]:
    """What a stage has to name of the code: rooms as folders, `stages` file by file, of `methods` the chosen."""
    found = fingerprint.closure(start)
    files = [path.relative_to(ROOT) for path in found.files]
    stages = [path for path in files if path.parts[2] == "stages"]
    # A stage of several files is a folder of its own.
    singly = {str(path if path.parts[3] in ("tasks", path.name) else path.parent) for path in stages}
    singly |= {str(path) for path in files if path.parts[2] == "methods"}
    rooms = {"/".join(path.parts[:3]) for path in files if path.parts[2] not in ("stages", "methods")}
    methods = {METHOD_FILES[folder] for folder in found.plugin_folders}
    return singly | rooms | methods | ({READER} if METHOD_FILES["methods.cam"] in methods else set())


def file_of(stage: str) -> Path:
    """The module that runs a stage."""
    stages = fingerprint.PACKAGE / "stages"
    return stages / stage / "stage.py" if (stages / stage).is_dir() else stages / f"{stage}.py"


def named(stage: dict[str, list[str]]) -> set[str]:
    return {dep for dep in stage["deps"] if dep.startswith("src/")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_exactly_the_rooms_it_imports_from(stage: str) -> None:
    found = code(file_of(stage))
    assert named(PIPELINE["stages"][stage]) == found
    assert len(found) <= 12


def test_the_pipeline_is_a_table_of_contents() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 200


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_names_exactly_the_sections_of_params_yaml_it_reads(stage: str) -> None:
    folder = file_of(stage).parent if file_of(stage).name == "stage.py" else None
    read = {
        node.attr
        for path in (folder.glob("*.py") if folder else [file_of(stage)])
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    # Where the source lies is a dependency by its path and content, which says more than the parameter would.
    if stage in ("crf", "eval"):
        read -= {"extract"}
    assert set(PIPELINE["stages"][stage]["params"]) == read


def test_a_stage_names_its_data_then_its_own_file_then_the_method_then_the_rooms() -> None:
    found = [path for path in ROOT.glob("**/dvc.yaml") if not {".dvc", ".venv"} & set(path.parts)]
    stages = {name: stage for path in found for name, stage in yaml.safe_load(path.read_text())["stages"].items()}
    assert {*STAGES, "world", "weak"} <= set(stages)
    for name, stage in stages.items():
        ranked = [(*rank(dep, name), dep) for dep in stage["deps"]]
        assert [kind for kind, *_ in ranked] == sorted(kind for kind, *_ in ranked), name
        code = [entry for entry in ranked if entry[0]]
        assert code == sorted(set(code)), name


def rank(dep: str, stage: str) -> tuple[int, bool]:
    """Where a dependency stands: 0 data, 1 the stage's code with its own file first, 2 the method, 3 rooms."""
    room = "".join(Path(dep).parts[2:3])
    kind = {"stages": 1, "methods": 2}.get(room, 3) if dep.startswith("src/") else 0
    return kind, dep not in (f"src/wildseg/stages/{stage}.py", f"src/wildseg/stages/{stage}")


def test_the_command_of_a_stage_is_its_name() -> None:
    assert {name: stage["cmd"].split()[-2:] for name, stage in PIPELINE["stages"].items()} == {
        name: ["wildseg", name] for name in STAGES
    }


def test_every_method_of_params_yaml_exists_and_every_placeholder_is_a_parameter() -> None:
    values = params.load(ROOT / "params.yaml")
    for placeholder in re.findall(r"\$\{([^}]+)\}", (ROOT / "dvc.yaml").read_text()):
        section, *rest = placeholder.split(".")
        value = getattr(values, section)
        for key in rest:
            value = value[key] if isinstance(value, dict) else getattr(value, key)
        assert isinstance(value, str)


def test_weak_labels_name_exactly_the_code_and_parameters_they_need() -> None:
    stage = yaml.safe_load((ROOT / "data/weak/dvc.yaml").read_text())["stages"]["weak"]
    module = fingerprint.PACKAGE / "stages" / "weak.py"
    assert named(stage) == code(module)
    assert set(stage["params"]) == set(re.findall(r"\bparams\.([a-z]+)", module.read_text())) - {"import"}
    assert stage["cmd"].split()[-2:] == ["wildseg", "weak"]


@pytest.mark.parametrize("folder", ["data/raw", "models/tiny_clip"])
def test_the_stages_of_the_demo_name_exactly_the_code_they_import(folder: str) -> None:
    stages = yaml.safe_load((ROOT / folder / "dvc.yaml").read_text())["stages"]
    for stage in stages.values():
        module = stage["cmd"].split(" -m ")[1].split()[0]
        assert named(stage) == code(fingerprint.SOURCE.joinpath(*module.split(".")).with_suffix(".py"))


def test_the_comparison_of_methods_runs_only_when_asked_and_says_what_it_reads_and_writes() -> None:
    content = yaml.safe_load((ROOT / "metrics" / "methods" / "dvc.yaml").read_text())
    stage = content["stages"]["compare"]
    assert stage["frozen"]
    assert stage["cmd"].split()[1:3] == ["wildseg", "compare"]
    text = "".join((fingerprint.PACKAGE / "cli" / "compare" / f"{name}.py").read_text() for name in ("run", "measure"))
    text += file_of("cam").read_text()
    used = set(re.findall(r"params\.(\w+)", text)) & set(params.Params.__dataclass_fields__)
    assert set(stage["params"]) == used - {"extract"}  # whose frames are a dependency
    written = [path for entry in stage["outs"] for path in entry]
    assert written == ["metrics/methods/table.csv", "metrics/methods/methods.json"]
    assert "plots" not in content  # of other data than a person's own
    command = r"dvc plots show metrics/methods/table\.csv -t (\w+) -x (\w+) -y (\w+)"
    ((name, x, y),) = re.findall(command, (ROOT / "docs" / "results.md").read_text())
    assert {x, y} <= set(COLUMNS)
    template = (ROOT / ".dvc" / "plots" / f"{name}.json").read_text()
    assert set(re.findall(r'"field": "(\w+)"', template)) <= {*COLUMNS, "rev", "height"}


def test_one_file_is_the_metric_of_the_pipeline() -> None:
    """A column for every number that is measured would hide those that runs are compared by."""
    files = [path for path in ROOT.glob("**/dvc.yaml") if not {".dvc", ".venv"} & set(path.parts)]
    stages = [stage for path in files for stage in yaml.safe_load(path.read_text())["stages"].values()]
    assert [metric for stage in stages for metric in stage.get("metrics", ())] == [
        {"metrics/headline.json": {"cache": False}}
    ]


def test_every_plot_has_a_template_that_dvc_can_fill_in() -> None:
    templates = {plot["template"] for entry in PIPELINE["plots"] if isinstance(entry, dict) for plot in entry.values()}
    templates.add("quality_cost")  # of the comparison of methods
    assert templates == {path.stem for path in (ROOT / ".dvc" / "plots").iterdir()}
    for name in templates:
        spec = json.loads((ROOT / ".dvc" / "plots" / f"{name}.json").read_text())
        assert spec["data"] == {"values": "<DVC_METRIC_DATA>"}


def test_pictures_of_two_revisions_stand_side_by_side() -> None:
    """DVC's page shows each picture as wide as it is; the project's page of plots gives each half of the window."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / ".dvc" / "config")
    page = (ROOT / ".dvc" / settings["plots"]["html_template"]).read_text()
    assert all(place in page for place in ("{plot_divs}", "{scripts}", "{refresh_tag}"))
    (most,) = re.findall(r"max-width: calc\(50vw - ([\d.]+)rem\)", page)
    assert (
        2 * (700 - 16 * float(most)) + 2 * (2 + 2 + 8 + 2) + 2 * 16 <= 1400
    )  # two of them, margins, borders, the body


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_table_without_rows_gets_no_place_on_the_page_of_plots(tmp_path: Path) -> None:
    page = (ROOT / ".dvc" / "page.html").read_text()
    vega = "<script>var drawn = []; var vegaEmbed = (place, spec) => drawn.push(place);</script>"
    places = "".join(
        f'<div id="{name}"><script type="text/javascript">var spec = {spec}; vegaEmbed("#{name}", spec);</script></div>'
        for name, spec in (("empty", "{}"), ("full", '{"mark": "bar"}'))
    )
    filled = page.replace("{scripts}", vega).replace("{plot_divs}", places).replace("{refresh_tag}", "")
    (tmp_path / "index.html").write_text(filled)
    with browser() as one:
        one.open(tmp_path / "index.html")
        assert one.run("[...document.querySelectorAll('body > div')].map((place) => place.id)") == ["full"]
        assert one.run("drawn") == ["#full"]
        assert one.errors == []


@pytest.mark.parametrize("template", ["measured_line", "curves"])
def test_a_plot_of_curves_uses_columns_of_its_table_and_what_it_computes_of_them(template: str, tmp_path: Path) -> None:
    points = [(step, {"loss": 2.0, "lr": 0.1} | ({"val_miou": 0.4} if step == 50 else {})) for step in (10, 50)]
    project = Artifacts(tmp_path)
    project.save_curve(points)
    project.save_map_network_curve(points)
    plots = [plot for entry in PIPELINE["plots"] if isinstance(entry, dict) for plot in entry.values()]
    chosen = [plot for plot in plots if plot["template"] == template]
    assert chosen
    for plot in chosen:
        ((file, y),) = plot["y"].items()
        with (tmp_path / file).open() as lines:
            rows = [{**row, "rev": "workspace"} for row in csv.DictReader(lines)]
        renderer = VegaRenderer(
            rows, "plot", x=plot["x"], y=y, template=template, template_dir=str(ROOT / ".dvc" / "plots"),
            anchors_y_definitions=[{"filename": file, "field": y}], revs_with_datapoints=["workspace"],
        )  # fmt: skip
        spec = renderer.get_filled_template()
        spec = json.loads(spec) if isinstance(spec, str) else spec
        assert spec["data"]["values"] == rows
        assert "<DVC_METRIC" not in json.dumps(spec)
        made, read = names_in(spec)
        assert {"step", "value", "points"} <= made
        assert {plot["x"], y} <= read <= made | set(rows[0])


def names_in(spec: object) -> tuple[set[str], set[str]]:
    """Which fields a Vega-Lite specification makes, and which it reads."""
    made, read = set(), set()
    if isinstance(spec, list):
        for one in spec:
            made, read = made | names_in(one)[0], read | names_in(one)[1]
    if isinstance(spec, dict):
        for key, value in spec.items():
            if key == "as":
                made |= {value}
            elif key in ("field", "loess", "on"):
                read |= {value}
            elif key == "groupby":
                read |= {*value}
            elif key in ("filter", "calculate"):
                read |= {one or other for one, other in re.findall(r"datum(?:\.(\w+)|\['(\w+)'\])", value)}
            elif key != "data":
                own = names_in(value)
                made, read = made | own[0], read | own[1]
    return made, read


def test_every_file_that_is_plotted_is_the_output_of_a_stage() -> None:
    outputs = [out for stage in PIPELINE["stages"].values() for out in stage["outs"]]
    for entry in PIPELINE["plots"]:
        files = [file for plot in entry.values() for file in plot["y"]] if isinstance(entry, dict) else [entry]
        assert all(any(file == out or file.startswith(f"{out}/") for out in outputs) for file in files)
