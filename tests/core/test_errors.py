"""A mistake is answered with the nearest thing that would have been right, and every kind of mistake is one type."""

from __future__ import annotations

import copy

import pytest

from wildseg.core.errors import DataError, ModelError, ParamsError, WildsegError, did_you_mean, one_line, words_of


@pytest.mark.parametrize("kind", [ParamsError, DataError, ModelError])
def test_every_error_a_person_can_cause_is_a_wildseg_error(kind: type[Exception]) -> None:
    assert issubclass(kind, WildsegError)


def test_an_error_survives_the_way_back_from_a_worker_process() -> None:
    error = copy.copy(DataError("a.png: broken"))  # taken apart and rebuilt as multiprocessing does it
    assert isinstance(error, DataError)
    assert str(error) == "a.png: broken"


def test_the_nearest_word_is_named() -> None:
    assert did_you_mean("hirscam", ["gradcam", "hirescam", "layercam"]) == "; did you mean 'hirescam'?"


def test_nothing_is_named_where_nothing_is_near() -> None:
    assert did_you_mean("zzz", ["gradcam", "hirescam"]) == ""
    assert did_you_mean("gradcam", []) == ""


@pytest.mark.parametrize("word", [None, 7, True, ["none"]])
def test_what_is_no_word_has_no_near_ones(word: object) -> None:
    assert did_you_mean(word, ["None", "7", "True", "none"]) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Straße, 草地, 👍🏽", "plain, Straße, 草地, 👍🏽"),
        ("\x1b[31mred\x07\x9b", r"\x1b[31mred\x07\x9b"),
        ("a\nb\r\tc\u2028d\x85", r"a\nb\r\tc\u2028d\x85"),
        ("txt.\u202egpj", r"txt.\u202egpj"),
        ("\u2066a\u2069 \u200fb", r"\u2066a\u2069 \u200fb"),
        ("\udcff", r"\udcff"),
        ("نمی\u200cخواهم", "نمی\u200cخواهم"),
    ],
)
def test_what_would_steer_a_terminal_is_shown_as_escapes(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_words_of_others_are_one_line() -> None:
    assert words_of("  an\nerror \t of\x1b[2J several\r\nlines ") == r"an error of\x1b[2J several lines"
