"""Targets appear together, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from wildseg.core.errors import DataError
from wildseg.stages.exchange.placement import placing


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_nothing_appears_before_all_is_complete(tmp_path: Path) -> None:
    with placing(replace=False) as placement:
        (placement.folder(tmp_path / "a") / "1").write_text("1")
        placement.file(tmp_path / "b.csv").write_text("2")
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b.csv").exists()
    assert everything(tmp_path) == ["a/1", "b.csv"]


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(RuntimeError), placing(replace=True) as placement:  # noqa: PT012
        (placement.folder(tmp_path / "a") / "1").write_text("1")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert everything(tmp_path) == []


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/old").write_text("old")
    with pytest.raises(DataError, match="a: expected nothing there, found a folder; .* --replace"):  # noqa: SIM117
        with placing(replace=False) as placement:
            placement.folder(tmp_path / "a")
    assert everything(tmp_path) == ["a/old"]
    with placing(replace=True) as placement:
        (placement.folder(tmp_path / "a") / "new").write_text("new")
    assert everything(tmp_path) == ["a/new"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_targets_before_one_that_cannot_be_renamed_are_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/old").write_text("old")
    with pytest.raises(FileNotFoundError), placing(replace=True) as placement:  # noqa: PT012
        (placement.folder(tmp_path / "a") / "new").write_text("new")
        placement.file(tmp_path / "b.csv")  # never written
    assert everything(tmp_path) == ["a/old"]
