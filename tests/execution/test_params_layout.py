"""params.yaml is written as DVC writes it: `dvc exp run -S` changes the lines of its parameter and no other."""

from __future__ import annotations

import re
from difflib import ndiff
from itertools import pairwise
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from wildseg.core import yaml_files
from wildseg.core.yaml_document import Document
from wildseg.execution import presets

ROOT = Path(__file__).parents[2]
SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    return tmp_path / "params.yaml"


def changed(file: Path, *overrides: str) -> list[str]:
    """The lines that an override by DVC removes (-) and adds (+)."""
    before = file.read_text(encoding="utf-8")
    apply_overrides(file, list(overrides))
    after = file.read_text(encoding="utf-8")
    return [line for line in ndiff(before.splitlines(), after.splitlines()) if line[0] in "-+"]


@pytest.mark.parametrize(
    ("override", "old", "new"),
    [
        ("cam.method=hirescam", "method: gradcam", "method: hirescam"),
        ("label.smooth_s=2.0", "smooth_s:", "smooth_s: 2.0"),
        ("crf.gaussian.weight=4.0", "weight: 3.0", "weight: 4.0"),
        ("train.options.unet.decoder_channels=[8,8,8,8]", "decoder_channels: [32, 24, 16, 8]",
         "decoder_channels: [8, 8, 8, 8]"),
        ("eval.flip=true", "flip: false", "flip: true"),
        ("extract.max_side=640", "max_side:", "max_side: 640"),
        ("train.teacher=mean_teacher", "teacher:", "teacher: mean_teacher"),
        ("classes.water=[water,lake]", "- pond", "- lake"),
    ],
)  # fmt: skip
def test_an_override_changes_one_line(file: Path, override: str, old: str, new: str) -> None:
    before, after = changed(file, override)
    assert (before[0], after[0]) == ("-", "+")
    assert old in before
    assert new in after
    assert before.partition("#")[2] == after.partition("#")[2]  # the comment stays


@pytest.mark.parametrize(
    ("override", "back", "lines"),
    [
        ("background=[a,b]", "background=[]", 4),
        ("extract.held_out=[]", "extract.held_out=[test_drive]", 3),
        ("train.hold_out=[lawn]", "train.hold_out=[]", 3),
        ("cam.refine=[lposs,pamr]", "cam.refine=propagate", 4),
        ("clip.templates=sharpest", "clip.templates=['a photo of {}.']", 3),
    ],
)
def test_lists_change_alone_and_come_back(file: Path, override: str, back: str, lines: int) -> None:
    assert len(changed(file, override)) == lines
    yaml_files.load(file)
    assert changed(file, "seed=0") == []
    assert len(changed(file, back)) == lines
    assert file.read_text(encoding="utf-8") == SHIPPED


def test_a_colour_is_written_in_a_line_of_its_own(file: Path) -> None:
    assert changed(file, "+colours.lawn='#33aa77'") == ["- colours: {}", "+ colours:", "+   lawn: '#33aa77'"]
    assert changed(file, "colours.lawn='#3a7'") == ["-   lawn: '#33aa77'", "+   lawn: '#3a7'"]


@pytest.mark.parametrize("names", [*([name] for name in presets.available()), ["voc", "clip_es"]], ids="-".join)
def test_presets_keep_the_layout(file: Path, names: list[str]) -> None:
    assert presets.init(file, names)
    assert changed(file, "seed=0") == []
    assert len(changed(file, "crf.sharpen=3.5")) == 2


@pytest.mark.parametrize("section", ["cam", "label", "colours", "train", "background"])
def test_what_an_update_writes_in_keeps_the_layout(file: Path, section: str) -> None:
    document = Document(SHIPPED)
    document.remove([section])
    file.write_text(document.text(), encoding="utf-8")
    assert presets.init(file, [], update=True)
    assert changed(file, "seed=0") == []
    content, shipped = yaml_files.load(file), yaml_files.parse(SHIPPED, file)
    assert isinstance(content, dict)
    assert isinstance(shipped, dict)
    assert content.keys() == shipped.keys()
    assert content[section].keys() == shipped[section].keys() if isinstance(shipped[section], dict) else True


def test_values_that_a_command_writes_are_written_as_dvc_writes_them(file: Path) -> None:
    values = {
        "classes": {"mud": ["deep mud", "mire: wet", "#1"], "a": ["it's", "null", "1", "{x}"]},
        "colours": {"mud": "#3a7", "a": "#123456"},
        "background": ["sky", "a, b"],
        "extract": {"source": "data/raw/my trip.mp4", "topic": "/camera", "max_side": None, "held_out": []},
        "label": {"threshold": {"mud": 0.25, "a": 1.0}},
    }
    document = Document(SHIPPED)
    document.change(values, presets.WHOLE)
    file.write_text(document.text(), encoding="utf-8")
    assert changed(file, "seed=0") == []
    found = yaml_files.load(file)
    assert isinstance(found, dict)
    assert {name: found[name] for name in ("classes", "colours", "background")} == {
        name: values[name] for name in ("classes", "colours", "background")
    }
    assert found["extract"]["held_out"] == []


def test_lists_have_no_comments_beside_or_below_them() -> None:
    entry = re.compile(r" *- ")
    lines = SHIPPED.splitlines()
    for line, following in pairwise(lines):
        if entry.match(line):
            assert "#" not in line
            assert following.strip()
            assert not following.lstrip().startswith("#")
        elif entry.match(following):
            assert line.endswith(":")
