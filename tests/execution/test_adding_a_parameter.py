"""A parameter is added in two places, params.yaml and the room that uses it: everything else follows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.programs import python

ROOT = Path(__file__).parents[2]
CODE = """
import json, sys
import numpy as np
from wildseg.core.errors import ParamsError
from wildseg.crf.masks import mask_frame
from wildseg.execution import params

said = []
values = params.load("params.yaml", said.append)
black = np.zeros((4, 4, 3), np.uint8)
mask, _ = mask_frame(black, np.array([0, 1]), np.array([[[0.9]], [[0.2]]]), values.crf, background=False)
refused = []
for wrong in (2, "low"):
    content = {"classes": {"lawn": "lawn"}, "crf": {"floor": wrong}}
    try:
        params.parse(content)
    except ParamsError as error:
        refused.append(str(error))
try:
    params.parse({"classes": {"lawn": "lawn"}, "crf": {"flor": 0.2}})
except ParamsError as error:
    refused.append(str(error))
print(json.dumps([values.crf.floor, int(mask[0, 0]), said, refused]))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the package with one parameter more, crf.floor: below it no map decides anything."""
    copy = tmp_path / "src"
    shutil.copytree(ROOT / "src" / "wildseg", copy / "wildseg", ignore=shutil.ignore_patterns("__pycache__"))
    room = copy / "wildseg" / "crf"
    replace(room / "params.py", "    min_confidence: Share\n", "    min_confidence: Share\n    floor: Share\n")
    replace(
        room / "masks.py",
        "    return pseudo_mask(\n",
        "    maps = maps * (maps.max() >= crf.floor)\n"
        "    if not maps.any():\n"
        "        return np.full(image.shape[:2], IGNORE, np.uint8), np.zeros(image.shape[:2], np.float32)\n"
        "    return pseudo_mask(\n",
    )
    line = "  min_confidence: 0.9           # pixels below become 255 (ignore)\n"
    replace(
        copy / "wildseg" / "execution" / "params.yaml",
        line,
        line + "  floor: 0.3                    # lower maps are 0\n",
    )
    return copy


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_parameter_added_in_two_places_is_read_limited_defaulted_and_given_on(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", file)
    answer = python("-c", CODE, cwd=tmp_path, PYTHONPATH=str(source))
    assert answer.code == 0, answer
    floor, decided, said, refused = json.loads(answer.output)
    assert floor == 0.3
    assert decided == 1
    assert said == ["params.yaml lacks crf.floor: defaults are used; 'wildseg init --update' writes them in"]
    assert refused == [
        "crf.floor: expected a number from 0 to 1, found 2.0",
        "crf.floor: expected a number, found 'low'",
        "crf.flor: there is no such parameter; did you mean 'floor'?",
    ]
    updated = python("-m", "wildseg.cli", "init", "--update", cwd=tmp_path, PYTHONPATH=str(source))
    assert updated.output == "crf.floor: (new) -> 0.3\n"
    assert "  floor: 0.3                    # lower maps are 0\n" in file.read_text(encoding="utf-8")
    replace(file, "  floor: 0.3 ", "  floor: 0.95")
    floor, decided, said, _ = json.loads(python("-c", CODE, cwd=tmp_path, PYTHONPATH=str(source)).output)
    assert (floor, decided, said) == (0.95, 255, [])
