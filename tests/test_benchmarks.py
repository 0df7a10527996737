"""The benchmarks count rightly and write what they say; how fast anything is, is no matter of tests."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmarks import __main__ as command
from benchmarks import table, timing
from benchmarks.timing import Result, compare

RESULT = Result("label, a frame", "ms", 12.345, 10.0, "the bare library", 1.25, 1.0, 1.5, 3)


class Clock:
    """A clock that only the actions below move."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_both_sides_are_warmed_up_and_then_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(), ""
    durations = {"a": iter((99.0, 2.0, 4.0, 3.0)), "b": iter((99.0, 1.0, 1.0, 3.0))}  # the first of each is the warm-up

    def act(name: str) -> None:
        nonlocal calls
        calls += name
        clock.now += next(durations[name])

    monkeypatch.setattr(timing, "time", clock)
    result = compare("x", lambda: act("a"), lambda: act("b"), "y", per=10, runs=3)
    assert calls == "ab" + "ab" + "ba" + "ab"
    assert (result.ours, result.peer) == (300.0, 100.0)  # medians 3 s and 1 s, in ms a piece of ten
    assert (result.lowest, result.ratio, result.highest) == (1.0, 2.0, 4.0)  # of 2/1, 4/1, 3/3


def test_a_result_is_a_line_of_the_table() -> None:
    line = table.markdown([RESULT]).splitlines()[-1]
    assert line == "| label, a frame | 12.3 ms | 10 ms | 1.25 (1.00 to 1.50) | the bare library |"


def test_saving_replaces_the_table_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "HERE", tmp_path)
    (tmp_path / "README.md").write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for _ in range(2):
        table.save([RESULT])
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(f"before\n{table.BEGIN}\n")
    assert text.endswith(f"\n{table.END}\nafter\n")
    assert text.count("the bare library") == 1
    assert "old" not in text
    assert json.loads((tmp_path / "results.json").read_text())["results"][0]["ratio"] == 1.25


def test_what_is_saved_names_no_folder_and_no_person() -> None:
    assert str(Path.home()) not in json.dumps(table.machine())
    assert "/" not in "".join(key for key in table.machine())


def test_the_readme_has_a_place_for_the_table() -> None:
    text = (table.HERE / "README.md").read_text()
    assert text.index(table.BEGIN) < text.index(table.END)


def test_everything_that_can_be_asked_for_exists() -> None:
    for name in command.WHAT:
        assert find_spec(f"benchmarks.{name}") is not None


def test_what_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "stage"])
    with pytest.raises(SystemExit):
        command.main()
    assert "expected some of stages, startup, nothing_to_do; found stage" in capsys.readouterr().err
