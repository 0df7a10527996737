import html
import json
from html.parser import HTMLParser

import pytest

from wildseg.report.markup import Markup, element, joined, json_for_script

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'&amp;", "</td></table>", "]]>", "<!--"]


class Elements(HTMLParser):
    """What a reader of HTML finds: the names of elements, their attributes and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_text_and_attributes_are_read_back_as_they_were(text: str) -> None:
    found = Elements(element("td", text, element("b", text), title=text))
    assert found.names == ["td", "b"]
    assert found.attributes == [("title", text)]
    assert found.text == 2 * text


def test_markup_is_not_escaped_twice_and_does_not_spread() -> None:
    assert joined([Markup("<b>"), "<b>"]) == "<b>&lt;b&gt;"
    assert element("p", Markup("<b>") + "<i>") == "<p>&lt;b&gt;&lt;i&gt;</p>"  # a sum is text again


def test_attributes_without_a_value_and_left_out() -> None:
    made = element("input", class_="a b", stroke_width=2, hidden=True, title=None, disabled=False)
    assert made == '<input class="a b" stroke-width="2" hidden>'


@pytest.mark.parametrize("text", [*HOSTILE, "</script><script>alert(1)</script>", "</SCRIPT>", "\u2028 \u2029", "日本"])
def test_json_in_a_script_element_is_read_back_and_cannot_end_it(text: str) -> None:
    made = json_for_script({"name": text, text: [text]})
    assert json.loads(made) == {"name": text, text: [text]}
    assert "<" not in made
    parsed = Elements(f'<script type="application/json">{made}</script>')
    assert parsed.names == ["script"]
    assert parsed.text == made


def test_half_a_surrogate_pair_can_be_written() -> None:
    assert json_for_script("a\ud83d").encode() == b'"a?"'


def test_no_text_is_unescaped_by_the_standard_library_differently() -> None:
    assert html.unescape(element("p", "".join(HOSTILE))[3:-4]) == "".join(HOSTILE)
