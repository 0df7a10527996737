"""Classes as they are typed in one line: names with commas between them, each with phrases of its own or without."""

from __future__ import annotations

from wildseg.core.classes import Classes
from wildseg.core.errors import ParamsError


def parse(text: str) -> dict[str, list[str]]:
    """Return the phrases of each class of a text such as ``mud, tall grass, track=dirt track/gravel``.

    A name's spaces become underscores; without phrases its words are the phrase.

    Raises:
        ParamsError: a name or phrase is empty, reserved or occurs twice.
    """
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        name, equals, phrases = part.partition("=")
        words = " ".join(name.split())
        if not words:
            raise ParamsError(
                f"--classes: expected names with commas between them, such as 'mud, grass'; found {text!r}"
            )
        if (key := words.replace(" ", "_")) in found:
            raise ParamsError(f"--classes: {key!r} occurs twice")
        own = [" ".join(phrase.split()) for phrase in phrases.split("/")] if equals else [words.replace("_", " ")]
        found[key] = own
    Classes(found)
    return found
