"""The names that parameters had in the last version are understood once more."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides

from wildseg.cli.main import main
from wildseg.core.errors import ParamsError
from wildseg.execution import params, renamed

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
CONTENT = yaml.safe_load(SHIPPED)
OLD_KEYS = (
    ("label.options.tagclip.look_again", "reidentify"),
    ("label.options.tagclip.positions", "pos_embed_interpolation"),
    ("label.options.tagclip.clip_boxes", "exclusive_box_ends"),
    ("cam.positions", "pos_embed_interpolation"),
    ("cam.caa.clip_boxes", "exclusive_box_ends"),
    ("crf.confidence", "min_confidence"),
    ("train.mu", "min_confidence"),
)


def section_of(content: dict[str, Any], key: str) -> dict[str, Any]:
    for name in key.split(".")[:-1]:
        content = content[name]
    return content


def with_old_names() -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    for key, new in OLD_KEYS:
        section = section_of(content, key)
        section[key.rpartition(".")[2]] = section.pop(new)
    return content


def old_text() -> str:
    """The file of the last version, as a person would have it: some values changed."""
    text = SHIPPED.replace("reidentify: 0.5 ", "look_again: 0.4 ").replace("exclusive_box_ends: ", "clip_boxes: ")
    text = text.replace("pos_embed_interpolation: bicubic", "positions: bilinear_half")
    return text.replace("  min_confidence: 0.9 ", "  confidence: 0.7 ").replace("  min_confidence: 0.95", "  mu: 0.8")


def test_old_names_mean_the_same_and_each_is_named_with_the_new_one() -> None:
    said: list[str] = []
    assert params.parse(with_old_names(), said.append) == params.parse(CONTENT)
    (line,) = said
    for key, new in OLD_KEYS:
        assert f"{key} is now {key.rpartition('.')[0]}.{new}" in line
    assert "'wildseg init --update' replaces them" in line
    assert "\n" not in line


def test_the_table_of_old_names_is_what_this_test_knows() -> None:
    assert tuple(renamed.RENAMED.items()) == OLD_KEYS


@pytest.mark.parametrize(("key", "new"), OLD_KEYS)
def test_an_old_name_beside_the_new_one_is_an_error(key: str, new: str) -> None:
    content = copy.deepcopy(CONTENT)
    section_of(content, key)[key.rpartition(".")[2]] = section_of(content, key)[new]
    with pytest.raises(ParamsError) as caught:
        params.parse(content)
    both = f"{key}: this is the old name of {key.rpartition('.')[0]}.{new}, which stands there too; remove {key}"
    assert str(caught.value) == both


def test_a_value_under_an_old_name_is_limited_as_under_the_new_one() -> None:
    content = with_old_names()
    content["crf"]["confidence"] = 2
    with pytest.raises(ParamsError, match=r"^crf\.min_confidence: expected a number from 0 to 1, found 2"):
        params.parse(content)


def test_update_gives_new_names_and_leaves_values_and_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "params.yaml"
    file.write_text(old_text(), encoding="utf-8")
    before = params.load(file)
    assert before.crf.min_confidence == 0.7
    shown = CliRunner().invoke(main, ["init", "--update", "--dry-run"]).output
    assert file.read_text(encoding="utf-8") == old_text()
    assert CliRunner().invoke(main, ["init", "--update"]).output == shown
    assert shown.splitlines() == [f"{key} -> {key.rpartition('.')[0]}.{new}" for key, new in OLD_KEYS]
    assert params.load(file) == before
    text = file.read_text(encoding="utf-8")
    assert re.search(r"^  min_confidence: 0\.7 +# pixels below become 255 \(ignore\)$", text, re.MULTILINE)
    assert CliRunner().invoke(main, ["init", "--update"]).output == "init: params.yaml already says all of this\n"


def test_presets_over_a_file_with_old_names_give_it_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(old_text(), encoding="utf-8")
    output = CliRunner().invoke(main, ["init", "clip_es"]).output.splitlines()
    assert "crf.confidence -> crf.min_confidence" in output
    assert "crf.min_confidence: 0.7 -> 0.95" in output
    assert params.load("params.yaml").crf.min_confidence == 0.95


def test_dvc_itself_refuses_to_set_an_old_name_of_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    with pytest.raises(DvcException, match="--set-param"):
        apply_overrides(str(tmp_path / "params.yaml"), ["crf.confidence=0.8"])
    apply_overrides(str(tmp_path / "params.yaml"), ["+crf.confidence=0.8"])
    with pytest.raises(ParamsError, match=r"crf\.confidence: this is the old name of crf\.min_confidence"):
        params.load(tmp_path / "params.yaml")
