"""docs/api.md is what docs/api.py writes of the docstrings today, and griffe finds nothing wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

import wildseg as ws
from tests.programs import python

ROOT = Path(__file__).parents[1]


def test_the_page_is_current_and_its_docstrings_are_read_without_a_warning() -> None:
    pytest.importorskip("griffe")
    answer = python(str(ROOT / "docs" / "api.py"), "--check")
    assert (answer.code, answer.errors) == (0, ""), answer


def test_the_page_has_a_section_for_every_public_name_with_all_that_a_caller_needs() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    headings = {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")}
    assert headings == set(ws.__all__)
    for name in (name for name in ws.__all__ if name[0].islower()):
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert all(part in section for part in ("Arguments:", "Raises:", "Example:")), name
