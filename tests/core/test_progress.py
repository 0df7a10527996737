"""Progress is readable: a bar in a terminal, whole lines in a log file; and it never touches what passes through."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest

from wildseg.core import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that advances when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was written to the error stream, which is no terminal."""
    return lambda: capsys.readouterr().err


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def paced(count: int, clock: Clock, seconds: float) -> Iterator[int]:
    for number in range(count):
        clock.now += seconds
        yield number


def test_items_pass_through_in_order(log: Callable[[], str]) -> None:
    assert list(progress.track("abc", 3, "letters")) == ["a", "b", "c"]


def test_a_log_gets_a_whole_line_now_and_then_and_one_at_the_end(log: Callable[[], str], clock: Clock) -> None:
    list(progress.track(paced(8, clock, 4.0), 8, "crf"))
    assert log().splitlines() == [
        "crf: 3/8 in 12 s, 4.0 s each, 20 s left",
        "crf: 6/8 in 24 s, 4.0 s each, 8 s left",
        "crf: 8/8 in 32 s, 4.0 s each",
    ]


def test_a_short_run_is_one_line(log: Callable[[], str], clock: Clock) -> None:
    list(progress.track(paced(500, clock, 0.01), 500, "label"))
    assert log() == "label: 500/500 in 5 s, 100.0/s\n"


def test_an_unknown_total_is_left_out(log: Callable[[], str], clock: Clock) -> None:
    list(progress.track(paced(3, clock, 6.0), None, "extract"))
    assert log().splitlines() == ["extract: 2 in 12 s, 6.0 s each", "extract: 3 in 18 s, 6.0 s each"]


def test_nothing_to_do_is_said(log: Callable[[], str], clock: Clock) -> None:
    assert list(progress.track([], 0, "cam")) == []
    assert log() == "cam: 0/0 in 0 s\n"


def test_a_log_holds_no_control_characters(log: Callable[[], str], clock: Clock) -> None:
    list(progress.track(paced(50, clock, 3.0), 50, "train"))
    assert log().replace("\n", "").isprintable()


def test_what_is_counted_is_what_is_finished_not_what_was_begun(log: Callable[[], str], clock: Clock) -> None:
    for _ in progress.track(range(2), 2, "cam"):
        clock.now += 30.0
    assert log().splitlines() == ["cam: 1/2 in 30 s, 30.0 s each", "cam: 2/2 in 60 s, 30.0 s each"]


def test_the_time_left_is_told_by_the_items_after_the_first_which_also_waited_for_models(
    log: Callable[[], str], clock: Clock
) -> None:
    def late() -> Iterator[int]:
        clock.now += 16.0  # loading
        yield from paced(20, clock, 1.0)

    list(progress.track(late(), 20, "cam"))
    assert log().splitlines() == [
        "cam: 1/20 in 17 s, 17.0 s each",
        "cam: 11/20 in 27 s, 2.5 s each, 9 s left",
        "cam: 20/20 in 36 s, 1.8 s each",
    ]


def test_nothing_claims_to_be_finished_when_an_item_fails(log: Callable[[], str]) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(progress.track(broken(), 2, "cam"))
    assert log() == ""


def test_items_are_drawn_one_at_a_time(log: Callable[[], str]) -> None:
    drawn = []
    items = (drawn.append(number) or number for number in range(10))
    tracked = progress.track(items, 10, "cam")
    assert [next(tracked), next(tracked)] == [0, 1]
    assert drawn == [0, 1]


def test_a_terminal_gets_a_bar_that_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(progress.track("abcd", 4, "letters")) == ["a", "b", "c", "d"]
    assert "\r" in terminal.getvalue()
    assert "letters: 100%" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


def test_progress_goes_to_the_error_stream_so_that_output_can_be_piped(capsys: pytest.CaptureFixture[str]) -> None:
    list(progress.track("ab", 2, "letters"))
    assert capsys.readouterr().out == ""
