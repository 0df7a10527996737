"""docs/api.md is what docs/api.py writes of the docstrings today, and griffe finds nothing wrong with them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import wildseg as ws

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def written() -> tuple[str, list[str]]:
    pytest.importorskip("griffe")
    return runpy.run_path(str(ROOT / "docs" / "api.py"))["page"]()


def test_the_docstrings_are_read_without_a_warning(written: tuple[str, list[str]]) -> None:
    assert written[1] == []


def test_the_page_is_up_to_date(written: tuple[str, list[str]]) -> None:
    assert (ROOT / "docs" / "api.md").read_text() == written[0], "run 'make docs'"


def test_the_page_has_a_section_for_every_public_name(written: tuple[str, list[str]]) -> None:
    headings = {line.removeprefix("## ") for line in written[0].splitlines() if line.startswith("## ")}
    assert headings == set(ws.__all__)
    functions = [name for name in ws.__all__ if name[0].islower()]
    for name in functions:
        section = written[0].split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert all(part in section for part in ("Arguments:", "Raises:", "Example:")), name
