"""Which tokens may come next so that an answer is JSON that names only classes, each at most once.

The answers allowed are ``{"annotations": [...]}`` with any of the names in any order. What is left to say is a set of
texts, one of which must follow byte by byte; a token may be chosen if some of them begins with it, and so on to the
next text. Bytes rather than letters, since a token may hold half of a letter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from wildseg.labels.parsing import KEY

# The bytes that must follow, and the names used once they have; None after the end.
State: TypeAlias = frozenset[tuple[bytes, frozenset[int] | None]]


class Grammar:
    """All answers that name some of `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        """Write down how each name is written."""
        self._names = [json.dumps(name, ensure_ascii=False).encode() for name in names]
        self._after: dict[frozenset[int], State] = {}
        opening = json.dumps({KEY: []})[:-2].encode()
        self.letters = frozenset(b"".join((opening, *self._names, b", ]}")))  # all bytes of all answers
        self.start: State = frozenset({(opening, frozenset[int]())})
        self.longest = len(opening) + sum(len(name) + 2 for name in self._names) + 2  # bytes of the longest answer

    def step(self, state: State, byte: int) -> State:
        """Return what is left to say after one more byte; empty if it must not follow."""
        found: set[tuple[bytes, frozenset[int] | None]] = set()
        for text, used in state:
            if text and text[0] == byte:
                found |= {(text[1:], used)} if len(text) > 1 or used is None else self._choices(used)
        return frozenset(found)

    def walk(self, state: State, text: bytes) -> State:
        """Return what is left to say after some bytes; empty if they must not follow."""
        for byte in text:
            state = self.step(state, byte)
        return state

    @staticmethod
    def done(state: State) -> bool:
        """Say whether an answer may end here."""
        return any(not text and used is None for text, used in state)

    def _choices(self, used: frozenset[int]) -> State:
        """Return what may follow a name: another one, or the end."""
        if used not in self._after:
            comma = b", " if used else b""
            names = {(comma + name, used | {i}) for i, name in enumerate(self._names) if i not in used}
            self._after[used] = frozenset({*names, (b"]}", None)})
        return self._after[used]


class Tokens:
    """The tokens of a vocabulary as a tree of bytes, so that those that may follow are found without trying all."""

    def __init__(self, texts: Mapping[int, bytes], end: Iterable[int]) -> None:
        """Build the tree.

        Args:
            texts: what each token writes; tokens that write nothing, such as special ones, are left out.
            end: the tokens that end an answer.
        """
        self.texts, self._end = texts, sorted(end)
        self._tree: dict[Any, Any] = {}
        for token, text in texts.items():
            node = self._tree
            for byte in text:
                node = node.setdefault(byte, {})
            if text:
                node.setdefault(None, []).append(token)
        self._known: dict[tuple[Grammar, State], list[int]] = {}

    def unwritable_bytes(self, grammar: Grammar) -> frozenset[int]:
        """Return the bytes of answers that no token writes alone. Where there is none, no answer is a dead end."""
        return grammar.letters - {text[0] for text in self.texts.values() if len(text) == 1}

    def allowed(self, grammar: Grammar, state: State) -> list[int]:
        """Return the tokens that may follow, in order; those that end the answer where it may end, or must."""
        if (grammar, state) not in self._known:
            found = [] if grammar.done(state) else sorted(self._below(self._tree, grammar, state))
            self._known[grammar, state] = found or self._end
        return self._known[grammar, state]

    def _below(self, node: Mapping[Any, Any], grammar: Grammar, state: State) -> list[int]:
        found = list(node.get(None, ()))
        for byte, child in node.items():
            if byte is not None and (after := grammar.step(state, byte)):
                found += self._below(child, grammar, after)
        return found


def token_bytes(tokenizer: Any) -> dict[int, bytes]:  # noqa: ANN401
    """Return the bytes that each token of a transformers tokenizer writes, special tokens left out.

    Two ways of writing bytes are in use: byte-level (GPT-2 and after; each byte stands as a letter) and SentencePiece
    (Llama 2; a space is U+2581, and a byte that is no letter is ``<0x0A>``).
    """
    vocabulary, special = tokenizer.get_vocab(), set(tokenizer.all_special_ids)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special |= {number for number, token in added.items() if token.special}
    letters = byte_letters()
    learnt = [word for word, number in vocabulary.items() if number not in added]  # what was added may be any text
    by_bytes = "▁" not in vocabulary and all(letter in letters for word in learnt for letter in word[:1])
    texts = {}
    for word, number in vocabulary.items():
        if number in special:
            continue
        if by_bytes:
            known = all(letter in letters for letter in word)
            texts[number] = bytes(letters[letter] for letter in word) if known else word.encode()
        elif match := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", word):
            texts[number] = bytes([int(match.group(1), 16)])
        else:
            texts[number] = word.replace("▁", " ").encode()
    return texts


def byte_letters() -> dict[str, int]:
    """Return the byte for each letter of byte-level BPE (Radford et al. 2019): printable ones stand for themselves."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}
