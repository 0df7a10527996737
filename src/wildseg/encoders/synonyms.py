"""Which background phrases mean a class, as an image-text model understands them.

Cosines of sentences are all high, and how high differs from model to model: no fixed number says that two phrases mean
the same. So the model itself is asked how near it puts phrases that do, and phrases that do not: a class's synonyms to
each other and to the phrases of other classes, and a few built-in pairs likewise. The cut is half way between. Any
other scale and offset of the cosines moves the cut along with them, and the same phrases are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Of the built-in background phrases, pairs that mean the same; no two of the pairs do.
PAIRS = (("railway", "railroad"), ("sea", "ocean"), ("street", "road"), ("house", "building"))


@dataclass(frozen=True)
class SynonymMatch:
    """A phrase that means a class: the class's index, and the cosine with the nearest of its phrases."""

    phrase: str
    index: int
    similarity: float


def find_synonyms(
    phrases: Sequence[str], vectors: np.ndarray, classes: Sequence[np.ndarray], pairs: Sequence[np.ndarray]
) -> tuple[float | None, list[SynonymMatch]]:
    """Return (the cut, those of `phrases` that are nearer to a class than it).

    Args:
        phrases: n background phrases.
        vectors: (n, d) unit vectors of them.
        classes: for each class (m, d) unit vectors of its m phrases.
        pairs: the same for each of `PAIRS`, or other groups of phrases that mean the same.

    Returns:
        The cut, None where the model does not tell synonyms from other phrases, or nothing says how near they are;
        then no phrase is left out. Matches are in the order of `phrases`.
    """
    limit = synonym_cutoff(classes, pairs)
    if limit is None or not len(phrases):
        return limit, []
    similar = np.stack([(vectors @ own.T).max(1) for own in classes], axis=1)  # (n, C)
    found = [SynonymMatch(p, int(row.argmax()), float(row.max())) for p, row in zip(phrases, similar, strict=True)]
    return limit, [match for match in found if match.similarity > limit]


def synonym_cutoff(*vocabularies: Sequence[np.ndarray]) -> float | None:
    """Return the cosine half way between what means the same and what does not, or None.

    Each phrase has a nearest synonym, and a nearest phrase that means something else; the cut is the middle of the two
    medians. None if there are no synonyms, nothing else, or if synonyms are no nearer.

    Args:
        vocabularies: each a sequence of groups, (m, d) unit vectors of the phrases that mean one thing; the groups of
            one vocabulary mean different things, those of two vocabularies may mean the same.
    """
    same: list[float] = []
    other: list[float] = []
    for groups in vocabularies:
        for index, own in enumerate(groups):
            others = [group for place, group in enumerate(groups) if place != index]
            if others:
                other += (own @ np.concatenate(others).T).max(1).tolist()
            if len(own) > 1:
                similar = own @ own.T
                np.fill_diagonal(similar, -np.inf)
                same += similar.max(1).tolist()
    if not same or not other or np.median(same) <= np.median(other):
        return None
    return float((np.median(same) + np.median(other)) / 2)
