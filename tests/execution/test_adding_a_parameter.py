"""A parameter is added in two places, params.yaml and the room that uses it: everything else follows."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import house
from tests.execution import one_more
from tests.execution.one_more import COMMENT, ONE_MORE, ROOT, Parameter
from tests.programs import python

EACH = pytest.mark.parametrize("one", ONE_MORE, ids=[one.key for one in ONE_MORE])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with one parameter more in each section."""
    folder = tmp_path_factory.mktemp("one_more") / "src"
    one_more.copy(folder)
    return folder


@pytest.fixture(scope="module")
def report(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the copy reads and computes, see `tests.execution.one_more`."""
    path = f"{source}{os.pathsep}{ROOT}"
    folder = tmp_path_factory.mktemp("project")
    answer = python("-m", "tests.execution.one_more", cwd=folder, PYTHONPATH=path, WILDSEG_TRACKING="off")
    assert answer.code == 0, answer
    found: dict[str, Any] = json.loads(answer.output)
    return found


def test_every_section_of_params_yaml_has_one_more() -> None:
    assert {one.key.split(".")[0] for one in ONE_MORE} == set(house.sections())


def test_nothing_is_changed_but_params_yaml_and_the_room_that_uses_a_parameter(source: Path) -> None:
    in_rooms = {f"{one.room}/{file}" for one in ONE_MORE for file in ("params.py", one.file)}
    assert one_more.changed_files(source) == {"execution/params.yaml", *in_rooms}


@EACH
def test_it_is_read_with_its_default_where_params_yaml_lacks_it(one: Parameter, report: dict[str, Any]) -> None:
    assert report["read"][one.key] == one.default
    hint = "defaults are used; 'wildseg init --update' writes them in"
    assert report["lacking"][one.key] == [f"params.yaml lacks {one.key}: {hint}"]


@EACH
def test_its_values_are_limited_and_its_name_is_suggested(one: Parameter, report: dict[str, Any]) -> None:
    assert report["refused"][one.key] == [
        f"{one.key}: expected a number from 0 to 1, found 2.0",
        f"{one.key}: expected a number, found 'low'",
        f"{one.key[:-1]}: there is no such parameter; did you mean {one.name!r}?",
    ]


@EACH
def test_its_value_changes_what_the_stage_computes_and_the_same_value_does_not(
    one: Parameter, report: dict[str, Any]
) -> None:
    default, other, again = report["outputs"][one.key]
    assert other != default
    assert again == default


def test_the_public_api_computes_with_the_defaults_of_new_parameters(report: dict[str, Any]) -> None:
    assert report["api"] == {"label": True, "cam": True, "crf": True}


def test_an_update_of_params_yaml_writes_them_as_they_are_shipped(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", file)
    updated = python("-m", "wildseg.cli", "init", "--update", cwd=tmp_path, PYTHONPATH=str(source))
    assert sorted(updated.output.splitlines()) == sorted(f"{one.key}: (new) -> {one.default}" for one in ONE_MORE)
    shipped = (source / "wildseg/execution/params.yaml").read_text(encoding="utf-8")
    assert shipped.count(COMMENT) == len(ONE_MORE)
    assert file.read_text(encoding="utf-8") == shipped
