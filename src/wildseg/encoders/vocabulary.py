"""The training vocabulary of a small model, from a list beside its weights, and a warning about phrases outside of it.

A CLIP trained on hundreds of millions of captions covers nearly every word, and has no such list. A small one scores
unseen words with the same confidence as others, and these scores are noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wildseg.core.errors import check_regular
from wildseg.encoders.prompts import COMPETITORS, stems

if TYPE_CHECKING:
    from wildseg.encoders.params import Clip

ARTICLES = {"a", "an", "the", "th"}  # "the" as `stems` leaves it
SHOWN = 8  # phrases listed in the warning


@dataclass(frozen=True)
class TrainedVocabulary:
    """The phrases a model was trained on, normalised by `normalise_phrase`, and their subject in a few words."""

    subject: str
    phrases: frozenset[tuple[str, ...]]

    def missing(self, phrases: Iterable[str]) -> list[str]:
        """Return those of `phrases` that are not in the vocabulary, each once."""
        return [phrase for phrase in dict.fromkeys(phrases) if normalise_phrase(phrase) not in self.phrases]


def normalise_phrase(phrase: str) -> tuple[str, ...]:
    """Return a phrase without letter case, punctuation, a leading article and plural endings."""
    words = stems(phrase.replace("_", " "))
    return words[1:] if len(words) > 1 and words[0] in ARTICLES else words


def vocabulary_path(weights: Path, model: str) -> Path:
    """Return the path of the vocabulary of a model whose weights are a local file."""
    return weights.parent / f"{Path(model).name}.words.txt"


def load_vocabulary(model: str, pretrained: str, root: Path) -> TrainedVocabulary | None:
    """Return the training vocabulary of a model, or None without such a file.

    One phrase a line; the first line, after a ``#``, is the subject.

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


def warning(clip: Clip, root: Path, classes: Iterable[Iterable[str]], background: Iterable[str]) -> str:
    """Return a warning about phrases outside of the training vocabulary; empty where there are none.

    Args:
        clip: the parameters of the model.
        root: as in `load_vocabulary`.
        classes: the phrases of each class.
        background: phrases that compete with them. Built-in ones are ignored.
    """
    known = load_vocabulary(clip.model, clip.pretrained, root)
    if known is None:
        return ""
    wanted = [phrase for phrases in classes for phrase in phrases]
    lacking = known.missing([*wanted, *(phrase for phrase in background if phrase not in COMPETITORS)])
    if not lacking:
        return ""
    more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
    return (
        f"{clip.model} was trained on {known.subject}, without {', '.join(map(repr, lacking[:SHOWN]))}{more}: "
        "their scores are meaningless; for photographs and video use a real CLIP ('wildseg init photographs')"
    )
