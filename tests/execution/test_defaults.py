"""What a params.yaml lacks is written in as it stands in the shipped one: the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from wildseg.cli.main import main
from wildseg.core import lookup
from wildseg.execution import defaults, params, presets

SHIPPED = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")


def without_lines(first: str, count: int) -> str:
    """The shipped text without `count` lines, from the one that begins with `first`."""
    lines = SHIPPED.splitlines(keepends=True)
    (start,) = [number for number, line in enumerate(lines) if line.startswith(first)]
    return "".join(lines[:start] + lines[start + count :])


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "params.yaml"


def test_the_shipped_file_is_that_of_the_repository() -> None:
    message = "copy params.yaml to src/wildseg/execution/params.yaml"
    assert defaults.SHIPPED.read_text(encoding="utf-8") == SHIPPED, message


CAM_OPTIONS = yaml.safe_load(SHIPPED)["cam"]["options"]


def test_every_cam_method_is_in_the_shipped_file() -> None:
    sections = ("none", "caa")  # refinements whose options stand elsewhere, or that have none
    refinements = [name for name in lookup.available("methods.refine") if name not in sections]
    assert sorted(CAM_OPTIONS) == sorted([*lookup.available("methods.cam"), *refinements])


@pytest.mark.parametrize("method", CAM_OPTIONS)
def test_options_of_cam_methods_in_the_shipped_file_are_the_defaults_of_their_signatures(method: str) -> None:
    folder = "methods.cam" if method in lookup.available("methods.cam") else "methods.refine"
    known = lookup.option_defaults(folder, method, ("cam", "build", "read", "refine"))
    assert CAM_OPTIONS[method] == {name: known[name] for name in CAM_OPTIONS[method]}


@pytest.mark.parametrize(
    ("first", "count"),
    [
        ("  architecture: unet", 1),  # the first key of its section
        ("  rule: auto", 2),  # what is said beside it goes on below
        ("  # none, or caa", 2),
        ("    constrained:", 1),
        ("      early_return:", 1),
        ("  flip: 0.5", 1),
        ("weak:", 10),
    ],
)
def test_what_was_cut_out_is_written_in_again_where_it_was_with_its_comments(
    first: str, count: int, file: Path
) -> None:
    file.write_text(without_lines(first, count), encoding="utf-8")
    assert presets.init(file, [], update=True)
    assert file.read_text(encoding="utf-8") == SHIPPED
    assert presets.init(file, [], update=True) == []


def test_a_key_of_a_section_in_braces_is_written_into_the_braces(file: Path) -> None:
    file.write_text(SHIPPED.replace("{steps: 10, dil", "{dil"), encoding="utf-8")
    assert presets.init(file, [], update=True) == ["cam.options.pamr.steps: (new) -> 10"]
    assert file.read_text(encoding="utf-8") == SHIPPED


def test_what_is_written_in_changes_no_value(file: Path) -> None:
    text = without_lines("  # none, or caa", 2)
    file.write_text(text.replace("    unet: {encoder_depth: 4, decoder_channels: [32, 24, 16, 8]}\n", ""))
    before = params.load(file)
    presets.init(file, [], update=True)
    assert params.load(file).train.options["unet"] == before.train.options["unet"]
    assert params.load(file).cam.refine == before.cam.refine == "propagate"


def test_update_shows_what_changes_and_a_dry_run_writes_nothing(file: Path) -> None:
    text = without_lines("  # none, or caa", 2)
    file.write_text(text, encoding="utf-8")
    shown = CliRunner().invoke(main, ["init", "--update", "--dry-run"]).output
    assert shown == "cam.refine: (new) -> propagate\n"
    assert file.read_text(encoding="utf-8") == text
    assert CliRunner().invoke(main, ["init", "voc", "--update"]).output.splitlines()[0].startswith("background: ")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[lines.index("  refine: propagate") - 1].startswith(
        "  # none, or caa, features, lposs, memory, pamr, prop"
    )


def test_a_stage_names_what_params_yaml_lacks_at_its_start(file: Path) -> None:
    file.write_text(without_lines("  # none, or caa", 2), encoding="utf-8")
    result = CliRunner().invoke(main, ["crf"])
    said = "crf: params.yaml lacks cam.refine: defaults are used; 'wildseg init --update' writes them in"
    assert said in result.stderr.splitlines()
