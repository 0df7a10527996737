"""From a language model's words to class names, never more than it said: no crash, and no label that it did not name.

Understood are the outermost JSON of an answer (an object with a list of names, or else a bare list), alone or amid
other words, or the last object in it, for answers that reason first. A name counts if it is a class or one of its
phrases, whatever the case, in singular or plural, and with one slip of the pen. Anything else is refused, and said to
be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

KEY = "annotations"  # what we ask for; see `find_names`

MAX_CHARACTERS = 100_000  # characters of an answer that are looked at, thoughts not counted
MAX_RESCANS = 16  # how often the length of an answer is read in search of JSON, whatever its brackets
# A shorter word is matched exactly: "sol" may be a misspelt "soil", while "cat" and "car" are two words.
MIN_FUZZY_LETTERS = 4


@dataclass(frozen=True)
class Parsed:
    """What an answer says: the classes by index, names that mean none of them, and why it says nothing, if so."""

    present: tuple[int, ...]
    refused: tuple[str, ...]
    error: str | None = None


class Vocabulary:
    """What the classes are called."""

    def __init__(self, class_names: Sequence[str], phrases: Sequence[Sequence[str]]) -> None:
        """Remember names and synonyms; a word that means two classes means none."""
        self._exact: dict[str, int | None] = {}
        for forms in (_plain, _singular):
            known: dict[str, set[int]] = {}
            for index, (name, synonyms) in enumerate(zip(class_names, phrases, strict=True)):
                for word in (name, *synonyms):
                    known.setdefault(forms(word), set()).add(index)
            for word, meant in known.items():
                self._exact.setdefault(word, next(iter(meant)) if len(meant) == 1 else None)
        for index, name in enumerate(class_names):  # a class's own name is its own, whoever has it as a synonym
            self._exact[_plain(name)] = index
        self._exact.pop("", None)

    def index(self, word: str) -> int | None:
        """Return the class that `word` means, or None: no class, or more than one."""
        for form in (_plain(word), _singular(word)):
            if form in self._exact:
                return self._exact[form]
        word = _plain(word)
        if len(word) < MIN_FUZZY_LETTERS:
            return None
        near = {
            index
            for known, index in self._exact.items()
            if len(known) >= MIN_FUZZY_LETTERS and within_one_edit(word, known)
        }
        return near.pop() if len(near) == 1 else None


def parse(text: str, vocabulary: Vocabulary, *, last: bool = False, cut: bool = False, key: str = KEY) -> Parsed:
    """Read the classes out of an answer.

    Args:
        text: what the model said.
        vocabulary: what the classes are called.
        last: take the last JSON object rather than the first: the model was asked to think aloud. An answer that ends
            half-way was still thinking then, and says nothing.
        cut: the answer ended at the token limit.
        key: under which the list of names stands in an object.
    """
    text = without_reasoning(text)
    text, cut = text[:MAX_CHARACTERS], cut or len(text) > MAX_CHARACTERS
    if not text:
        return Parsed((), (), "cut off" if cut else "empty")
    search = JsonSearch(text)
    whole = list(search)
    found = [(value, names) for value in whole if (names := find_names(value, key)) is not None]
    half = cut or search.truncated
    if not found or (last and half):
        return Parsed((), (), "cut off" if half else "JSON without a list of names" if whole else "no JSON")
    # A list amid words, such as [1], may be anything; an object seldom is.
    found = [entry for entry in found if isinstance(entry[0], dict)] or found
    names = found[-1 if last else 0][1]
    known = {name: vocabulary.index(name) for name in {name for name in names if isinstance(name, str)}}
    present, refused = [], []
    for name in names:
        index = known[name] if isinstance(name, str) else None
        if index is None:
            refused.append(name if isinstance(name, str) else json.dumps(name))
        elif index not in present:
            present.append(index)
    return Parsed(tuple(sorted(present)), tuple(refused))


def without_reasoning(text: str) -> str:
    """Return what a model said after it had thought; nothing if it was still thinking.

    Some templates open the thoughts themselves, so that only their end is seen.
    """
    return text.rpartition("</think>")[2].partition("<think>")[0].strip()


def find_names(value: Any, key: str = KEY) -> list[Any] | None:  # noqa: ANN401
    """Return the list that a JSON value holds: itself, or that under `key`; None if it is not an answer.

    Of an object without `key`, its only list is taken, whatever it is called. A list without any word in it is none of
    names; a text under `key` is one name, or several with commas between them.
    """
    if isinstance(value, list):
        return value if not value or any(isinstance(name, str) for name in value) else None
    if not isinstance(value, dict):
        return None
    lower = {str(name).strip().lower(): part for name, part in value.items()}
    if key in lower:
        part = lower[key]
        if isinstance(part, str):
            return [name.strip() for name in part.split(",")] if part.strip() else None
        return find_names(part) if isinstance(part, list) else None
    lists = [part for part in lower.values() if isinstance(part, list)]
    return lists[0] if len(lists) == 1 and all(isinstance(name, str) for name in lists[0]) else None


class JsonSearch:
    """Finds the outermost JSON objects and lists in a text, from its beginning to its end.

    A bracket that opens no JSON is stepped over. One that is never closed ends the search, since a list inside half an
    object is not what the model was going to say. half: whether the search ended so, once it has ended.
    """

    def __init__(self, text: str) -> None:
        """Begin at the beginning."""
        self.text = text
        self.truncated = False

    def __iter__(self) -> Iterator[Any]:
        """Yield what is found."""
        text, decoder = self.text, json.JSONDecoder()
        position, patience = 0, MAX_RESCANS * len(self.text)
        for opening in re.finditer(r"[\[{]", text):
            start = opening.start()
            if start < position:
                continue
            end = _closing(text, start)
            if end is None or patience < 0:
                self.truncated = True
                return
            try:
                value = decoder.decode(text[start : end + 1])
                position = end + 1
            except (ValueError, RecursionError):
                # Words in brackets. What is inside may still be JSON, as in "[see {...}]"; each try costs its length.
                patience -= end - start
                continue
            yield value


# A string, whole or up to the end of the text, or a bracket. Nothing is given back (``*+``), and a quote always begins
# a match: so no letter is looked at twice.
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+("?)|[\[\]{}]', re.DOTALL)
BRACKET = re.compile(r"[\[\]{}]")


def _closing(text: str, start: int) -> int | None:
    """Return where the bracket at `start` is closed, brackets in strings not counted; None if it never is."""
    depth, position, token = 0, start, TOKEN
    while match := token.search(text, position):
        position = match.end()
        if text[match.start()] == '"':
            if not match[1]:  # never closed; nor is any quote behind it, all of which stand behind a backslash
                position, token = match.start() + 1, BRACKET
            continue
        depth += 1 if match[0] in "[{" else -1
        if depth == 0:
            return match.start()
    return None


def within_one_edit(a: str, b: str) -> bool:
    """Say whether one insertion, deletion or substitution, or none, makes `a` into `b`."""
    if abs(len(a) - len(b)) > 1:
        return False
    if len(a) > len(b):
        a, b = b, a
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    return a[same + (len(a) == len(b)) :] == b[same + 1 :]


def _plain(word: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", word.casefold()).split())


def _singular(word: str) -> str:
    """Return a word of a class without its plural, at the end alone: ``road markings``, ``grasses``, ``berries``."""
    plain = _plain(word)
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x")):
        if plain.endswith(ending) and len(plain) > len(ending) + 1:
            return plain[: -len(ending)] + instead
    return plain[:-1] if plain.endswith("s") and not plain.endswith("ss") and len(plain) > 3 else plain
