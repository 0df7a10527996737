"""Constrained answers: exactly those that are allowed, found by brute force over a small vocabulary."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
from tokenizers import pre_tokenizers

from tests.labels.language.tiny_llava import tokenizer
from wildseg.labels.language.grammar import Grammar, Tokens, byte_letters, token_bytes

NAMES = ("ab", "abc", "öd")
SOME = """{ "annotations" : [ " a b ab c "] "]} ] } , x an notations"""
# Every letter by itself, too, as in a tokenizer of bytes.
PIECES = [*SOME.split(), ": [", ": ", ", ", '", "', " ", *"notis"]
TEXTS = {number: piece.encode() for number, piece in enumerate(PIECES)}
TEXTS |= {100: "ö".encode()[:1], 101: "ö".encode()[1:] + b"d", 102: "ö".encode()[1:], 103: b"d", 104: b""}
END = 200


def every_answer() -> set[bytes]:
    """All lists of different names, written by json."""
    orders = [order for number in range(len(NAMES) + 1) for order in permutations(NAMES, number)]
    return {json.dumps({"annotations": list(order)}, ensure_ascii=False).encode() for order in orders}


def test_exactly_the_lists_of_different_names_can_be_said() -> None:
    grammar, tokens = Grammar(NAMES), Tokens(TEXTS, [END])
    said: set[bytes] = set()
    todo = [(b"", grammar.start)]
    seen = set()
    while todo:
        text, state = todo.pop()
        for token in tokens.allowed(grammar, state):
            if token == END:
                said.add(text)
            elif (longer := text + TEXTS[token]) not in seen:
                seen.add(longer)
                todo.append((longer, grammar.walk(state, TEXTS[token])))
    assert said == every_answer()
    assert max(map(len, said)) <= grammar.longest


def test_what_may_follow_is_what_some_answer_continues_with() -> None:
    grammar, tokens = Grammar(NAMES), Tokens(TEXTS, [END])
    answers = every_answer()
    for text in {answer[:end] for answer in answers for end in range(len(answer) + 1)}:
        expected = {n for n, piece in TEXTS.items() if piece and any(a.startswith(text + piece) for a in answers)}
        allowed = tokens.allowed(grammar, grammar.walk(grammar.start, text))
        assert set(allowed) == (expected or {END}), text


def test_where_no_token_fits_the_answer_ends() -> None:
    grammar = Grammar(NAMES)
    assert Tokens({1: b"x"}, [END]).allowed(grammar, grammar.start) == [END]
    assert grammar.walk(grammar.start, b"x") == frozenset()


@pytest.mark.parametrize("name", ['quo"ted', "back\\slash", "new\nline"])
def test_names_are_written_as_json_writes_them(name: str) -> None:
    grammar = Grammar([name])
    text = json.dumps({"annotations": [name]}, ensure_ascii=False).encode()
    assert grammar.done(grammar.walk(grammar.start, text))


def test_letters_of_bytes_are_those_of_the_tokenizers_library() -> None:
    letters = byte_letters()
    assert set(letters) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(letters.values()) == list(range(256))
    text = "Grün, ~\n\x00 ÿ"
    written = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)[0][0]
    assert bytes(letters[letter] for letter in written) == text.encode()


def test_the_bytes_of_tokens_are_what_they_decode_to() -> None:
    words = tokenizer()
    texts = token_bytes(words)
    assert {0, 1, 2, 3}.isdisjoint(texts)
    text = '{"annotations": ["löwe", "yes"]}'
    assert b"".join(texts[token] for token in words(text, add_special_tokens=False)["input_ids"]).decode() == text


def test_what_was_added_to_a_tokenizer_of_bytes_does_not_hide_what_it_is() -> None:
    words = tokenizer()
    words.add_tokens(["  ", "\n\n", "<tool>"])
    texts = token_bytes(words)
    assert texts[words.convert_tokens_to_ids("Ġ")] == b" "
    assert [texts[words.convert_tokens_to_ids(word)] for word in ("  ", "\n\n", "<tool>")] == [
        b"  ",
        b"\n\n",
        b"<tool>",
    ]


def test_tokens_of_sentencepiece_are_understood() -> None:
    class Piece:
        all_special_ids = (0,)

        def get_vocab(self) -> dict[str, int]:
            return {"<s>": 0, "▁": 1, "▁lawn": 2, "<0x0A>": 3, "ö": 4}

    assert token_bytes(Piece()) == {1: b" ", 2: b" lawn", 3: b"\n", 4: "ö".encode()}
