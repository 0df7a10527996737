"""The commands in the pages about import and correction are ones that there are, with options that they have."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from wildseg.cli.main import main

ROOT = Path(__file__).parents[2]
LINES = [
    line.strip()
    for page in ("import.md", "correcting.md")
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    if line.startswith("    wildseg ")
]


def test_the_pages_hold_commands() -> None:
    assert len(LINES) > 8


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_pages_is_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
    assert answer.exit_code == 1, answer.output  # 2 would be a mistake in the command; here its data are missing
    assert "expected" in answer.output
