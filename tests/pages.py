"""The documentation as tests read it: pages, and the commands in their blocks of code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / place for place in ("data/truth/README.md", "benchmarks/README.md", "models/tiny_clip/README.md")),
]
SEPARATORS = frozenset({"&&", "||", ";", "|", "&"})


class Command(NamedTuple):
    """A command of a page: its line in the file, from 1, and its words."""

    page: Path
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line} {shlex.join(self.words)}"


def code(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of indented blocks and of fenced ones that name no other language than a shell."""
    language = None
    for number, line in enumerate(text.splitlines(), 1):
        if fence := re.match(r"\s*```(\w*)", line):
            language = None if language is not None else fence[1]
        elif language in ("", "sh", "bash", "console") or (language is None and line.startswith("    ")):
            yield number, line.strip()


def commands(page: Path, *programs: str) -> list[Command]:
    """Return the commands of a page that start one of `programs`, also behind variables and ``&&``."""
    found = []
    for number, line in code(page.read_text(encoding="utf-8")):
        if any(program in line for program in programs):
            found += [Command(page, number, words) for words in _split(line) if words[0] in programs]
    return found


def _split(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command of a line; none of a line that no shell would read, such as prose."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return
    one: list[str] = []
    for word in [*words, ";"]:
        if word not in SEPARATORS:
            one.append(word)
            continue
        one = [word for before, word in zip(["", *one], one, strict=False) if not {before, word} & {">", ">>", "<"}]
        while one and re.fullmatch(r"\w+=.*", one[0]):
            one = one[1:]
        if one:
            yield tuple(one)
        one = []
