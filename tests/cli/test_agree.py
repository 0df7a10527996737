"""`wildseg agree` on two tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wildseg.cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text('Frame,Labels\nx,"sky,tree"\ny,tree\nz,sky\nw,\nonly,sky\n')
    Path("b.csv").write_text('Frame,Labels\nw,\nz,"sky,curb"\ny,tree\nx,"sky,tree"\n')


def run(*tables: str) -> Result:
    return CliRunner().invoke(main, ["agree", *tables])


def test_two_tables_are_compared_on_the_frames_that_both_have() -> None:
    result = run("a.csv", "b.csv")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert lines[0] == "agree: 4 frames in both, 1 only in a.csv, 0 only in b.csv"
    assert rows["sky"] == rows["tree"] == ["1.000", "1.000", "2", "2"]
    assert rows["curb"] == ["0.000", "0.750", "0", "1"]
    assert rows["water"] == ["-", "1.000", "0", "0"]
    assert rows["mean"] == ["0.667"]
    # 39 of 40 the same, 4 and 5 of 40 named: p_e = .1 * .125 + .9 * .875 = .8, kappa = (.975 - .8) / .2
    assert rows["together"] == ["0.875", "0.975", "4", "5"]
    assert lines[-1] == "the same in all classes: 75.0% of frames"


def test_tables_without_a_frame_in_common_are_told() -> None:
    Path("c.csv").write_text("Frame,Labels\nq,sky\n")
    result = run("a.csv", "c.csv")
    assert result.exit_code == 1
    assert "a.csv and c.csv: expected some frame that is in both, found none" in result.stderr


def test_a_missing_table_is_told() -> None:
    assert "none.csv: expected a CSV file" in run("a.csv", "none.csv").stderr
