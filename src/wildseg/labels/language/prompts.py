"""From a prompt of params.yaml to the sentence that is asked: the list of classes, with what each of them means.

``{classes}`` becomes one line a class, ``- name: definition``; a class without definition is described by its phrases.
``{names}`` becomes the names alone, ``{class}`` one class, ``{description}`` what another model saw. Other brackets
stay, so that a prompt can show JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from wildseg.core.errors import ParamsError

PLACES = ("classes", "names", "class", "description")


def fill_template(prompt: str, **words: str) -> str:
    """Return `prompt` with each ``{place}`` replaced; what is filled in is not looked at again."""
    return re.sub(
        rf"\{{({'|'.join(PLACES)})\}}", lambda match: words.get(match.group(1), match.group()), prompt
    ).strip()


def check_prompt(key: str, prompt: object, *places: str) -> str:
    """Return a prompt if it is a text that has all of `places`.

    Raises:
        ParamsError: it is not.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise ParamsError(f"{key}: expected a text to ask with, found {prompt!r}")
    if missing := [place for place in places if f"{{{place}}}" not in prompt]:
        raise ParamsError(f"{key}: expected {{{missing[0]}}} where it goes, found {prompt.strip()!r:.60}")
    return prompt


def class_lines(names: Sequence[str], phrases: Sequence[Sequence[str]], definitions: Mapping[str, str]) -> str:
    """Return one line a class, in the order of `names`."""
    return "\n".join(
        f"- {name}: {class_description(own, definitions.get(name))}" for name, own in zip(names, phrases, strict=True)
    )


def class_description(phrases: Sequence[str], definition: str | None) -> str:
    """Return the definition of a class on one line, or else its phrases."""
    return " ".join(definition.split()) if definition else ", ".join(phrases)
