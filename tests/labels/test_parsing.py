"""What is read out of a language model's answer, and that nothing else is."""

from __future__ import annotations

import json
import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wildseg.labels import parsing
from wildseg.labels.parsing import BRACKET, TOKEN, JsonSearch, Parsed, Vocabulary, find_names, parse, within_one_edit

NAMES = ("sky", "cement_road", "lawn", "red_brick_path", "curb")
PHRASES = (
    ("sky", "clouds"),
    ("cement road", "grey pavement"),
    ("lawn", "grass"),
    ("red brick path",),
    ("curb", "kerb stone"),
)
WORDS = Vocabulary(NAMES, PHRASES)


def said(text: str, **how: object) -> tuple[list[str], list[str], str | None]:
    parsed = parse(text, WORDS, **how)
    return [NAMES[index] for index in parsed.present], list(parsed.refused), parsed.error


@pytest.mark.parametrize(
    ("text", "present"),
    [
        ('{"annotations": ["sky", "lawn"]}', ["sky", "lawn"]),
        ('["lawn"]', ["lawn"]),
        ('{"annotations": []}', []),
        ("[]", []),
        ('{"annotations": "sky"}', ["sky"]),
        ('{"Annotations": ["sky"]}', ["sky"]),
        ('{"labels": ["sky"]}', ["sky"]),
        ('Sure! Here it is:\n```json\n{"annotations": ["sky"]}\n```\nAnything else?', ["sky"]),
        ('[see below] {"annotations": ["sky"]}', ["sky"]),
        ('a set {x | x > 2} and {"annotations": ["curb"]}', ["curb"]),
        ('{"annotations": ["  SKY ", "Cement Road", "cement-road", "cement_road"]}', ["sky", "cement_road"]),
        ('{"annotations": ["clouds", "Grass", "kerb stones", "grasses"]}', ["sky", "lawn", "curb"]),
        ('{"annotations": ["lawns", "curbs", "skies"]}', ["sky", "lawn", "curb"]),
        ('{"annotations": ["lawm", "cemnt road", "currb", "red brick paths"]}',
         ["cement_road", "lawn", "red_brick_path", "curb"]),
        ('As in [1], {"annotations": ["sky"]} [2].', ["sky"]),
        ('Candidates: ["sky", "curb"]. {"annotations": ["sky"]}', ["sky"]),
        ('{"annotations": "sky, Lawns"}', ["sky", "lawn"]),
        ("[present] or [absent]? " * 200 + '{"annotations": ["sky"]}', ["sky"]),
        ('<think>["lawn"]?</think> {"annotations": ["sky"]} <think>or ["curb"]', ["sky"]),
        ('{"evidence": "a } and a ] and \\" in words", "annotations": ["sky"]}', ["sky"]),
    ],
)  # fmt: skip
def test_an_answer_is_understood(text: str, present: list[str]) -> None:
    assert said(text) == (present, [], None)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('{"annotations": ["boat", "sky"]}', ["boat"]),
        ('{"annotations": ["a sky so blue", "sky"]}', ["a sky so blue"]),
        ('{"annotations": ["sku", "sky"]}', ["sku"]),  # three letters: "sky" and "ski" are a slip apart, too
        ('{"annotations": [7, "sky", null, ["lawn"]]}', ["7", "null", '["lawn"]']),
        ('{"annotations": ["", "sky"]}', [""]),
    ],
)
def test_what_is_no_class_is_refused_and_told(text: str, refused: list[str]) -> None:
    assert said(text) == (["sky"], refused, None)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I see a lawn and the sky.", "no JSON"),
        ('{"annotations": ["sky", "la', "cut off"),
        ('{"annotations": ["sky", "lawn"]', "cut off"),
        ('{"steps": [{"sky": true}], "annotations": ["sk', "cut off"),
        ("{}", "JSON without a list of names"),
        ('{"annotations": null}', "JSON without a list of names"),
        ('{"annotations": {"sky": true}}', "JSON without a list of names"),
        ('<think>{"annotations": ["sky"]}, I guess</think>', "empty"),
        ('<think>{"annotations": ["sky"]}, I guess', "empty"),
        ("[1]", "JSON without a list of names"),
        ('[{"label": "sky", "box": [1, 2, 3, 4]}]', "JSON without a list of names"),
        ('{"annotations": [{"name": "sky"}]}', "JSON without a list of names"),
        ("{'annotations': ['sky']}", "no JSON"),
        ("7", "no JSON"),
        ("[" * 50_000, "cut off"),
        ("{" * 50_000 + "}" * 50_000, "cut off"),
        ('"' * 50_001, "no JSON"),
    ],
)
def test_an_answer_that_says_nothing_is_no_label(text: str, error: str) -> None:
    assert said(text) == ([], [], error)


def test_of_an_answer_that_reasons_the_last_object_counts() -> None:
    text = 'First {"annotations": ["sky"]}, but no: {"annotations": ["lawn"]}. [sic] [1]'
    assert said(text)[0] == ["sky"]
    assert said(text, last=True)[0] == ["lawn"]
    assert said('no object at all: ["curb"]', last=True)[0] == ["curb"]


@pytest.mark.parametrize("end", [" Final: {", ' Final: {"annotations": ["la', ' ["lawn'])
def test_of_an_answer_that_reasons_and_is_cut_nothing_counts(end: str) -> None:
    text = 'At first sight {"annotations": ["sky"]}.'
    assert said(text + end, last=True) == ([], [], "cut off")
    assert said(text, last=True, cut=True) == ([], [], "cut off")
    assert said(text, cut=True) == (["sky"], [], None)  # what came after a whole answer was not asked for
    assert said("I see", cut=True)[2] == said("", cut=True)[2] == "cut off"


def test_what_goes_on_and_on_is_read_up_to_a_limit() -> None:
    answer = '{"annotations": ["sky"]}'
    assert said("hm " * 40_000 + "</think>" + answer, last=True)[0] == ["sky"]
    assert said(answer + " hm" * 40_000)[0] == ["sky"]
    assert said("hm " * 40_000 + answer) == ([], [], "cut off")
    assert said(answer + " hm" * 40_000, last=True) == ([], [], "cut off")


def test_what_a_model_thinks_before_it_speaks_does_not_count() -> None:
    assert said('<think>{"annotations": ["sky"]}?</think>{"annotations": ["lawn"]}')[0] == ["lawn"]


def test_a_word_that_means_two_classes_means_none() -> None:
    words = Vocabulary(("road", "path"), (("road", "paving"), ("path", "paving")))
    assert words.index("paving") is None
    assert words.index("road") == 0
    near = Vocabulary(("boot", "boat"), (("boot",), ("boat",)))
    assert near.index("boit") is None
    assert near.index("boats") == 1


def test_a_class_keeps_its_name_though_it_is_a_phrase_of_another() -> None:
    words = Vocabulary(("lawn", "grass"), (("lawn", "grass"), ("grass",)))
    assert words.index("grass") == 1
    assert words.index("lawn") == 0


def distance(a: str, b: str) -> int:
    """Levenshtein's distance, by his recursion."""
    if not a or not b:
        return len(a) + len(b)
    return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))


def test_one_slip_is_one_step_of_levenshtein() -> None:
    words = ["".join(letters) for length in range(5) for letters in product("ab", repeat=length)]
    for a, b in product(words, repeat=2):
        assert within_one_edit(a, b) == (distance(a, b) <= 1), (a, b)


@given(st.text())
def test_no_text_breaks_it_or_makes_a_label_of_nothing(text: str) -> None:
    parsed = parse(text, WORDS)
    assert set(parsed.present) <= set(range(len(NAMES)))
    assert not (parsed.error and parsed.present)
    if "[" not in text and "{" not in text:
        assert parsed == Parsed((), (), "no JSON" if text.strip() else "empty")


JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(NAMES),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["annotations", "a", "b"]), inner),
    max_leaves=8,
)


@given(JSONS, st.text(alphabet="abc ,.:"), st.text())
def test_json_amid_words_is_found_whole(value: object, before: str, after: str) -> None:
    text = before + json.dumps(value) + after
    found = list(JsonSearch(text))
    if isinstance(value, (list, dict)):
        assert json.dumps(found[0]) == json.dumps(value)


@given(st.lists(st.sampled_from(NAMES), unique=True), st.integers(0, 200))
def test_an_answer_cut_anywhere_is_an_error_and_never_half_an_answer(names: list[str], at: int) -> None:
    text = json.dumps({"annotations": names})
    parsed = parse(text[:at], WORDS)
    if at < len(text):
        assert parsed.error
        assert parsed.present == ()
    else:
        assert [NAMES[index] for index in parsed.present] == sorted(names, key=NAMES.index)


@given(st.lists(st.sampled_from([word for phrases in PHRASES for word in phrases] + list(NAMES)) | st.text()))
def test_every_name_is_a_class_or_refused(names: list[str]) -> None:
    parsed = parse(json.dumps(names), WORDS)
    meant = {WORDS.index(name) for name in names} - {None}
    assert set(parsed.present) == meant
    assert len(parsed.refused) == sum(WORDS.index(name) is None for name in names)


def test_lists_of_other_things_are_no_answer() -> None:
    assert find_names({"a": [1], "b": 2}) is None
    assert find_names({"a": ["x"], "b": ["y"]}) is None
    assert find_names("x") is None


# Work ----------------------------------------------------------------------------------------------------------------


class Counting:
    """A pattern that counts the characters which its searches pass over."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.passed = pattern, 0

    def search(self, text: str, position: int) -> re.Match[str] | None:
        match = self.pattern.search(text, position)
        self.passed += (match.end() if match else len(text)) - position
        return match


DEGENERATE = {
    "escaped quotes": lambda n: '["' + '\\"' * n,
    "openings": lambda n: "{" * n,
    "nested": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "nested objects": lambda n: '{"a":' * n + "1" + "}" * n,
    "backslashes": lambda n: '["' + "\\" * n,
    "commas": lambda n: "[" + "," * n + "]",
    "words in brackets": lambda n: "[x] " * n,
    "quotes": lambda n: '["' * n,
    "a quote, then openings": lambda n: '"' + "[" * n,
    "thoughts": lambda n: "<think>" * n,
    "thoughts that end": lambda n: "</think>" * n,
    "names": lambda n: "[" + ",".join(f'"n{i}"' for i in range(n // 8)) + "]",
    "the same name": lambda n: "[" + ",".join(['"lawn"'] * (n // 8)) + "]",
    "spaces": lambda n: '["lawn"' + " " * n,
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_the_work_that_an_answer_makes_grows_as_its_length(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    work = []
    for length in (5_000, 20_000):
        token, bracket = Counting(TOKEN), Counting(BRACKET)
        monkeypatch.setattr(parsing, "TOKEN", token)
        monkeypatch.setattr(parsing, "BRACKET", bracket)
        text = DEGENERATE[kind](length)
        parse(text, WORDS)
        work.append(token.passed + bracket.passed)
        assert work[-1] <= (parsing.MAX_RESCANS + 3) * len(text)
    assert work[1] <= 5 * work[0] + 100


def test_the_patterns_give_nothing_back() -> None:
    # A string that is not closed is passed over in one step, so that no search looks at a letter twice.
    text = '"' + '\\"' * 1000
    match = TOKEN.search(text, 0)
    assert match is not None
    assert match.span() == (0, len(text))
    assert match[1] == ""


@given(st.text(alphabet='[]{}"\\a', max_size=30))
def test_brackets_close_where_a_reader_of_single_letters_says(text: str) -> None:
    start = next((place for place, letter in enumerate(text) if letter in "[{"), None)
    if start is not None:
        assert parsing._closing(text, start) == letter_by_letter(text, start)


def letter_by_letter(text: str, start: int) -> int | None:
    depth, place = 0, start
    while place < len(text):
        if text[place] == '"':
            end = place + 1
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            place = end if end < len(text) else place  # one that is never closed counts for nothing
        elif text[place] in "[]{}":
            depth += 1 if text[place] in "[{" else -1
            if depth == 0:
                return place
        place += 1
    return None
