"""Values in a YAML file change, and nothing else does."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import LiteralScalarString

from wildseg.core import yaml_files
from wildseg.core.yaml_document import Document, edit

DEFAULT = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
TEXT = """\
# what this is
seed: 0   # any

classes:  # in order
  sky: [sky, clouds]      # up
  # not used: soil
  water: [water]          # the last

# about the background
background: []

cam:
  method: "gradcam"             # a name
  scales: [1.0, 1.5]
  options:
    empty: {}
    full: {a: 1}   # b

  caa: {box: 0.4}

# the end
"""


def read(text: str) -> Any:  # noqa: ANN401
    return yaml_files.parse(text, Path("params.yaml"))


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": 7}, ["- seed: 0   # any", "+ seed: 7   # any"]),
        ({"seed": 12345}, ["- seed: 0   # any", "+ seed: 12345 # any"]),
        (
            {"cam": {"method": "x"}},
            ['-   method: "gradcam"             # a name', "+   method: x                     # a name"],
        ),
        ({"cam": {"options": {"empty": {"b": True}}}}, ["-     empty: {}", "+     empty: {b: true}"]),
        (
            {"cam": {"options": {"full": {"b": "u, v"}}}},
            ["-     full: {a: 1}   # b", "+     full: {a: 1, b: 'u, v'} # b"],
        ),
        ({"cam": {"options": {"full": None}}}, ["-     full: {a: 1}   # b", "+     full:          # b"]),
        ({"cam": {"options": {"new": {}}}}, ["+     new: {}"]),
        ({"cam": {"pos_embed_interpolation": "bicubic"}}, ["+   pos_embed_interpolation: bicubic"]),
        ({"cam": {"caa": {"box": 0.75}}}, ["-   caa: {box: 0.4}", "+   caa: {box: 0.75}"]),
        ({"background": ["a", "no"]}, ["- background: []", "+ background:", "+ - a", '+ - "no"']),
        ({"more": {"a": {"b": 1}}}, ["+ more:", "+   a: {b: 1}"]),
    ],
)
def test_a_value_is_changed_where_it_stands(changes: dict[str, Any], expected: list[str]) -> None:
    assert changed_lines(TEXT, edit(TEXT, changes)) == expected


def test_a_section_taken_as_a_whole_keeps_what_is_said_around_it() -> None:
    after = edit(TEXT, {"classes": {"no": ["no"], "b c": ["d,e", "f"]}}, frozenset({"classes"}))
    assert after == TEXT.replace(
        """\
  sky: [sky, clouds]      # up
  # not used: soil
  water: [water]          # the last
""",
        """\
  "no":
  - "no"
  b c:
  - d,e
  - f
""",
    )


@pytest.mark.parametrize(
    "old", ["classes: {a: [b]}\n", "classes:\n", "classes: null  # none yet\n", "classes:\n  a: b"]
)
def test_a_section_is_written_as_a_block_whatever_it_was(old: str) -> None:
    after = edit(f"seed: 0\n{old}", {"classes": {"x": ["v"], "z": ["w"]}}, frozenset({"classes"}))
    assert after == "seed: 0\nclasses:\n  x:\n  - v\n  z:\n  - w\n"


def test_a_list_of_lines_is_replaced_and_what_follows_stays() -> None:
    after = edit("background:\n  - a\n  - b   # last\n\n# next\nseed: 0\n", {"background": ["c"]})
    assert read(after) == {"background": ["c"], "seed": 0}
    assert "# next\n" in after


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        (["classes", "sky"], ["-   sky: [sky, clouds]      # up"]),
        (["classes", "water"], ["-   water: [water]          # the last"]),
        (["cam", "scales"], ["-   scales: [1.0, 1.5]"]),
    ],
)
def test_a_key_goes_with_the_comment_beside_it_and_no_other(name: list[str], gone: list[str]) -> None:
    document = Document(TEXT)
    document.remove(name)
    assert changed_lines(TEXT, document.text()) == gone


def test_keys_change_places_with_the_comments_beside_them() -> None:
    document = Document(TEXT)
    document.reorder(["classes"], ["water", "sky"])
    after = document.text()
    assert list(read(after)["classes"]) == ["water", "sky"]
    assert Counter(line.strip() for line in after.splitlines()) == Counter(line.strip() for line in TEXT.splitlines())
    for line in ("  sky: [sky, clouds]      # up", "  water: [water]          # the last", "background: []"):
        assert line in after.splitlines()
    assert after.index("# about the background") < after.index("background: []")


def test_the_ends_of_lines_stay_as_they_are() -> None:
    assert edit("a: 1\r\nb: 2  # two\r\n", {"a": 3}) == "a: 3\r\nb: 2  # two\r\n"


def leaves(content: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def at(content: dict[str, Any], path: tuple[str, ...]) -> Any:  # noqa: ANN401
    return reduce(getitem, path, content)


def nested(values: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (*parents, name), value in values.items():
        reduce(lambda section, parent: section.setdefault(parent, {}), parents, found)[name] = value
    return found


def one_of_each_line(paths: list[tuple[str, ...]]) -> list[list[tuple[str, ...]]]:
    """Group the values of params.yaml: the first of each line, the second of each that has two, and so on."""
    top, in_line, groups = Document(DEFAULT).top, Counter[int](), defaultdict(list)
    for path in paths:
        line, _ = at(top, path[:-1]).lc.value(path[-1])
        groups[in_line[line]].append(path)
        in_line[line] += 1
    return list(groups.values())


def _lines_below(top: CommentedMap, path: tuple[str, ...]) -> int:
    """The lines of a text or a list that stands below its key in params.yaml."""
    value = at(top, path)
    if isinstance(value, list):
        return 0 if value.fa.flow_style() or not value else len(value)
    return value.count("\n") + (value[-1:] != "\n") if isinstance(value, LiteralScalarString) else 0


def test_each_value_of_params_yaml_can_be_changed_and_changed_back_to_the_byte() -> None:
    content, top = read(DEFAULT), Document(DEFAULT).top
    paths = list(leaves(content))
    assert len(paths) > 80
    for chosen in one_of_each_line(paths):  # many in one edit: it takes a tenth of a second
        old = {path: at(content, path) for path in chosen}
        once = edit(DEFAULT, nested(dict.fromkeys(old, "changed")))
        lines_below = sum(_lines_below(top, path) for path in old)
        assert len(changed_lines(DEFAULT, once)) == 2 * len(old) + lines_below, list(old)
        assert read(edit(once, nested(old))) == content


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=12).filter(str.isprintable)
    | st.sampled_from(["no", "1e5", "0x1", "~", "a: b", "- x", "{}", "12:30:00", "<<", "#", "null ", "é", "", "1_0"]),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text("abcno", min_size=1, max_size=3), inner),
    max_leaves=30,
)  # fmt: skip


@settings(deadline=None)
@given(VALUES)
@example([{}, None, None])
@example([{}, False, []])
@example([{"a": "0?"}])
@example([None, ":0"])
def test_what_is_written_is_read_back_by_yaml_of_both_versions(value: object) -> None:
    after = edit(TEXT, {"seed": value, "added": value}, frozenset({"seed"}))
    for content in (read(after), yaml.safe_load(after)):
        assert content["seed"] == content["added"] == value
        assert content["cam"]["scales"] == [1.0, 1.5]


def test_lines_that_no_change_touches_stay_the_same_bytes() -> None:
    text = "a:   1\nb: [x,\n  y ]   # long\nc: {p: 1,q: 2}\n\n\nd: 'q'\ne:\n    f:  ~\r\n    g: 0x1F\n"
    assert edit(text, {"d": 2}) == text.replace("d: 'q'", "d: 2")
    assert edit(text, {"e": {"g": 3}}) == text.replace("0x1F", "3")
    assert edit(text, {}) == text


def test_sections_of_several_indents_are_written_anew_where_a_line_would_not_fit() -> None:
    text = "a:\n  b: 1  # one\nc:\n    d: 2  # two\n    e: 3\n"
    after = edit(text, {"c": {"e": 4}})
    assert read(after) == {"a": {"b": 1}, "c": {"d": 2, "e": 4}}
    assert ("# one" in after, "# two" in after) == (True, True)
