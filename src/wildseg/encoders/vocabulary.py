"""Which phrases a small model was taught, by a list beside its weights, and which of those it is asked for it was not.

A CLIP of hundreds of millions of captions knows nearly every word, and has no such list. A small one answers to a word
that it never met as surely as to any other, and what it says is noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wildseg.core.errors import check_regular
from wildseg.encoders.prompts import COMPETITORS, stems

ARTICLES = {"a", "an", "the", "th"}  # "the" as `stems` leaves it
SHOWN = 8  # phrases named in the line that a person reads


@dataclass(frozen=True)
class TrainedVocabulary:
    """What a model was taught: in a few words, and each phrase as `normalise_phrase` has it."""

    subject: str
    phrases: frozenset[tuple[str, ...]]

    def missing(self, phrases: Iterable[str]) -> list[str]:
        """Return those of `phrases` that are none of its own, each once."""
        return [phrase for phrase in dict.fromkeys(phrases) if normalise_phrase(phrase) not in self.phrases]


def normalise_phrase(phrase: str) -> tuple[str, ...]:
    """Return a phrase without what does not count: letter case, signs, an article in front, a plural's ending."""
    words = stems(phrase.replace("_", " "))
    return words[1:] if len(words) > 1 and words[0] in ARTICLES else words


def vocabulary_path(weights: Path, model: str) -> Path:
    """Return where the list of what a model was taught lies whose weights are a file."""
    return weights.parent / f"{Path(model).name}.words.txt"


def load_vocabulary(model: str, pretrained: str, root: Path) -> TrainedVocabulary | None:
    """Return what a model was taught, or None where nothing beside its weights says so.

    A phrase a line; the first line, behind a ``#``, says in a few words what all of them are about.

    Args:
        model: as in `wildseg.encoders.clip.load`.
        pretrained: a tag, or a file of weights below `root`.
        root: the project folder.
    """
    weights = root / pretrained
    if not weights.is_file():
        return None
    words = vocabulary_path(weights, model)
    try:
        check_regular(words)
        lines = words.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None  # it only serves a warning
    subject = next((line.lstrip("# ") for line in lines if line.startswith("#")), "a few words")
    return TrainedVocabulary(
        subject, frozenset(normalise_phrase(line) for line in lines if line.strip() and not line.startswith("#"))
    )


def warning(
    model: str, pretrained: str, root: Path, classes: Iterable[Iterable[str]], background: Iterable[str]
) -> str:
    """Return a line that names the phrases a model was not taught, and what to do; empty where there are none.

    Args:
        model: as in `load_vocabulary`.
        pretrained: as in `load_vocabulary`.
        root: as in `load_vocabulary`.
        classes: the phrases of each class.
        background: phrases that compete with them. The built-in ones are there for any model, and not looked at.
    """
    known = load_vocabulary(model, pretrained, root)
    if known is None:
        return ""
    asked = [phrase for phrases in classes for phrase in phrases]
    lacking = known.missing([*asked, *(phrase for phrase in background if phrase not in COMPETITORS)])
    if not lacking:
        return ""
    more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
    return (
        f"{model} knows {known.subject} and was never taught {', '.join(map(repr, lacking[:SHOWN]))}{more}: what it "
        "says of them means nothing; for photographs and video take a real CLIP ('wildseg init photographs')"
    )
