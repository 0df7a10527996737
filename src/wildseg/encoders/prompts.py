"""From class phrases to sentences: synonym fusion, templates and competitor phrases (CLIP-ES, Lin et al. 2023).

A class is represented by one sentence with all its synonyms, rather than by an average over sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The background phrases of CLIP-ES for the twenty classes of PASCAL VOC: objects and surfaces around them.
COMPETITORS = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway",
    "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley",
    "bridge", "sign",
)  # fmt: skip


def fuse(phrases: Sequence[str]) -> str:
    """Join the synonyms of a class into one string, comma separated; a single phrase stays as it is."""
    return ", ".join(phrases)


def sentences(phrases: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Return one sentence per template, each holding all `phrases` of a class.

    Args:
        phrases: the name of one class and its synonyms.
        templates: sentences with one ``{}``, such as ``"a photo of {}."``.
    """
    return [template.replace("{}", fuse(phrases)) for template in templates]


def named(phrases: Sequence[str], class_phrases: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return those of `phrases` that name a class, contain its name or are contained in it, each with that class.

    Args:
        phrases: the candidates, in the order of the result.
        class_phrases: the phrases of each class; of several that fit, the first counts.
    """
    found = {}
    for phrase in phrases:
        fits = [any(overlap(phrase, own) for own in synonyms) for synonyms in class_phrases]
        if any(fits):
            found[phrase] = fits.index(True)
    return found


def overlap(one: str, other: str) -> bool:
    """Return whether one phrase contains the other, word by word: ``road``, ``cement road``, but not ``sea``, ``seat``.

    Letter case, punctuation and a plural's ending do not count.
    """
    short, long = sorted((stems(one), stems(other)), key=len)
    starts = range(len(long) - len(short) + 1)
    return bool(short) and any(long[start : start + len(short)] == short for start in starts)


def stems(phrase: str) -> tuple[str, ...]:
    """Return the words of a phrase without letter case, punctuation and a plural's ending."""
    return tuple(_singular(word) for word in re.findall(r"\w+", phrase.lower()))


def _singular(word: str) -> str:
    # Crude on purpose: both sides are cut in the same way, so that a wrong stem still matches.
    if word.endswith("ies"):
        return word[:-3] + "y"
    stem = word[:-1] if word.endswith("s") and not word.endswith("ss") else word
    return stem.removesuffix("e")
