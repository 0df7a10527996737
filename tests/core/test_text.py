"""Text for one line or a table of a terminal."""

from __future__ import annotations

from wildseg.core.text import aligned, error_line, shorten, shorten_middle


def test_what_fits_stays_as_it_is_and_what_does_not_has_exactly_the_width() -> None:
    for cut in (shorten, shorten_middle):
        assert cut("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 10) == "abcdefg..."
    assert shorten_middle("abcdefghijklmno", 11) == "abc ... mno"


def test_the_message_of_an_error_is_one_line_and_never_empty() -> None:
    assert error_line(ValueError("a\n  b\x1b[31m")) == r"a b\x1b[31m"
    assert error_line(ValueError()) == "ValueError"
    assert len(error_line(ValueError("x" * 500))) == 200


def test_cells_stand_below_each_other_and_lines_have_no_spaces_at_their_end() -> None:
    rows = [("class", "count", "note"), ("lawn", "7", ""), ("cement", "120", "rare"), ("sum", "127")]
    assert aligned(rows, "<><") == [
        "class   count  note",
        "lawn        7",
        "cement    120  rare",
        "sum       127",
    ]
    assert aligned(rows[1:3], "<>")[0] == "lawn      7"
    assert aligned([]) == []
