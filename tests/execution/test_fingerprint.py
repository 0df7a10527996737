"""The fingerprint of the code behind a result."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wildseg.execution import fingerprint


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package to edit."""
    copy = tmp_path / "wildseg"
    shutil.copytree(fingerprint.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "PACKAGE", copy)
    monkeypatch.setattr(fingerprint, "SOURCE", tmp_path)
    return copy


def digest() -> str:
    return fingerprint.digest("wildseg.stages.cam", "wildseg.methods.cam.gradcam")


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("stages/cam.py", True),
        ("cam/engine.py", True),
        ("cam/methods/gradcam.py", True),
        ("encoders/vit.py", True),
        ("files.py", True),
        ("cam/methods/hirescam.py", False),  # nobody chose it
        ("crf/dense.py", False),  # the stage has no use for it
        ("progress.py", False),  # shows what happens, changes nothing
    ],
)
def test_an_edit_changes_it_only_where_a_result_could_change(package: Path, file: str, matters: bool) -> None:
    before = digest()
    path = package / file
    path.write_text(path.read_text() + "\n# edited\n")
    assert (digest() != before) is matters


def test_it_does_not_depend_on_where_the_package_lies(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = digest()
    monkeypatch.undo()
    assert digest() == copied


def test_the_chosen_method_is_part_of_it() -> None:
    assert fingerprint.digest("wildseg.stages.cam", "wildseg.methods.cam.hirescam") != digest()
