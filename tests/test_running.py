"""How the tests run beside one another: what is made once, and which files begin."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import LONGEST_FIRST, TESTS, turn
from tests.shared import made_once


def test_what_several_need_at_once_is_made_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path_factory.getbasetemp()  # which it makes when it is first needed, and not for two threads
    makers: list[Path] = []
    both = threading.Barrier(2, timeout=60)

    def make(folder: Path) -> None:
        makers.append(folder)
        (folder / "content").write_text("made")

    def need() -> str:
        both.wait()
        return (made_once(tmp_path_factory, f"once-{id(both)}", make) / "content").read_text()

    with ThreadPoolExecutor(2) as pool:
        needs = [pool.submit(need) for _ in range(2)]
        assert [one.result() for one in needs] == ["made", "made"]
    assert len(makers) == 1


def test_what_failed_half_way_is_made_anew_from_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError

    name = f"failed-{id(fail)}"
    with pytest.raises(OSError):  # noqa: PT011
        made_once(tmp_path_factory, name, fail)
    folder = made_once(tmp_path_factory, name, lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_the_files_that_begin_exist_and_the_most_particular_place_counts() -> None:
    assert [path for path in LONGEST_FIRST if not (TESTS / path).exists()] == []
    assert (
        turn(TESTS / LONGEST_FIRST[0]) == 0 < turn(TESTS / "pipeline/test_weak.py") < turn(TESTS / "core/test_files.py")
    )
