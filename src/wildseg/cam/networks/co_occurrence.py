"""Background phrases of CLIMS (Xie et al. 2022, section 3.3): what co-occurs with a class and is none itself.

A network that is trained on labels of whole frames takes the water around a boat for a part of the boat. Phrases of
such background are suppressed in the maps of the class. They are given in params.yaml, or proposed by this rule:

1. A class is of a row of `CO_OCCURRING` if one of its phrases ends with one of the row's names: a dirt road is a road.
   It gets the phrases of all its rows; a class of no row gets those with which CLIP-ES surrounds any class.
2. A phrase that names a class of the list is left out, and so is one that overlaps another name of a class's row:
   beside a class that is a road, asphalt is no background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from wildseg.core.errors import ParamsError, did_you_mean
from wildseg.encoders.prompts import COMPETITORS, named, stems
from wildseg.encoders.synonyms import PAIRS, find_synonyms

if TYPE_CHECKING:
    from torch import Tensor

Background = Literal["auto"] | Sequence[str] | Mapping[str, Sequence[str]]

# Names of classes, and phrases of what surrounds or touches them. First streets and terrain, then PASCAL VOC; the
# rows of boats and trains are the phrases that CLIMS was published with, of both variants together.
CO_OCCURRING: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("road", "street", "asphalt", "highway"), ("sidewalk", "curb", "lane marking", "grass verge", "parked cars")),
    (("lane line", "lane marking", "road marking"), ("asphalt", "pavement", "curb")),
    (("sidewalk", "pavement", "paving", "curb", "kerb", "footpath"), ("road", "asphalt", "lawn", "building", "wall")),
    (("trail", "path", "track", "dirt road"), ("grass", "bush", "fallen leaves", "tree trunk", "rocks")),
    (("dirt", "soil", "mud", "sand", "gravel", "ground"), ("grass", "bush", "fallen leaves", "rocks", "puddle")),
    (("grass", "lawn", "meadow", "field", "terrain"), ("soil", "path", "tree", "flowers", "fallen leaves")),
    (("tree", "forest", "bush", "shrub", "hedge", "vegetation"), ("sky", "lawn", "building", "mountain")),
    (("log", "stump", "trunk"), ("fallen leaves", "moss", "soil", "grass")),
    (("rock", "boulder", "rubble"), ("soil", "sand", "moss", "grass", "water")),
    (("water", "river", "lake", "pond", "puddle", "sea"), ("shore", "mud", "boat", "bridge", "reeds")),
    (("sky", "cloud"), ("tree", "building", "mountain", "power line")),
    (("building", "house", "wall"), ("sky", "tree", "street", "parked cars")),
    (("fence", "barrier", "guardrail", "railing"), ("lawn", "tree", "road", "building")),
    (("pole", "traffic light", "traffic sign", "sign", "post"), ("sky", "building", "tree", "power line")),
    (("bridge",), ("river", "water", "railing", "road")),
    (("person", "pedestrian", "rider", "cyclist", "bicyclist", "player"), ("sidewalk", "street", "building", "lawn")),
    (("car", "truck", "bus", "van", "vehicle"), ("road", "parking lot", "street", "building", "traffic sign")),
    (("bicycle", "motorcycle", "motorbike"), ("road", "street", "wall", "helmet")),
    (("boat", "ship"), ("river", "sea", "lake", "water", "building")),
    (("train", "tram"), ("railway", "railroad", "track", "stone", "rocks", "tree", "branches")),
    (("aeroplane", "airplane"), ("sky", "cloud", "runway", "airport")),
    (("bird",), ("sky", "branches", "water")),
    (("cow", "horse", "sheep"), ("lawn", "field", "fence")),
    (("cat", "dog"), ("floor", "carpet", "lawn")),
    (("bottle", "potted plant", "pottedplant"), ("shelf", "wall", "window")),
    (("chair", "sofa", "dining table", "diningtable"), ("floor", "carpet", "wall", "window")),
    (("tv monitor", "tvmonitor", "tv"), ("desk", "keyboard", "wall")),
)  # fmt: skip


@dataclass(frozen=True)
class BackgroundPhrases:
    """Phrases of background, and with which classes each is related.

    Attributes:
        phrases: L texts, each once.
        related: (C, L) bool, whether a phrase is suppressed in the maps of a class.
        proposed: whether they were proposed and not given, so that those which mean a class may still be left out.
    """

    phrases: tuple[str, ...]
    related: np.ndarray
    proposed: bool = False

    @classmethod
    def of_classes(cls, own: Sequence[Sequence[str]], proposed: bool = False) -> BackgroundPhrases:
        """Gather the phrases of each class."""
        phrases = tuple(dict.fromkeys(phrase for of_class in own for phrase in of_class))
        related = np.array([[phrase in of_class for phrase in phrases] for of_class in own], bool)
        return cls(phrases, related.reshape(len(own), len(phrases)), proposed)

    def without(self, dropped: Sequence[str]) -> BackgroundPhrases:
        """Return the phrases that are not `dropped`."""
        stays = [phrase not in dropped for phrase in self.phrases]
        phrases = tuple(phrase for phrase, stay in zip(self.phrases, stays, strict=True) if stay)
        return BackgroundPhrases(phrases, self.related[:, stays], self.proposed)


def background_phrases(
    background: Background, class_names: Sequence[str], phrases: Sequence[Sequence[str]], shared: bool, key: str
) -> BackgroundPhrases:
    """Return the phrases that an option names.

    Args:
        background: ``"auto"`` proposes them; a list is related with all classes, but with none that it names; a mapping
            gives each class its own, and those that it does not hold none.
        class_names: C names.
        phrases: of each class.
        shared: whether proposed phrases are related with all classes, or only with the one they were proposed for.
        key: the option's full name, for error lines.

    Raises:
        ParamsError: an unknown class, an empty phrase, a class under its own name.
    """
    texts = [(name.replace("_", " "), *own) for name, own in zip(class_names, phrases, strict=True)]
    if isinstance(background, str):
        found = proposals(texts)
        return BackgroundPhrases.of_classes([_union(found)] * len(texts) if shared else found, proposed=True)
    if not isinstance(background, Mapping):
        given = _checked(background, key)
        return BackgroundPhrases.of_classes([[p for p in given if not named([p], [own])] for own in texts])
    for name in background:
        if name not in class_names:
            hint = did_you_mean(name, class_names)
            raise ParamsError(f"{key}: expected names of classes, found {name!r}, which is none{hint}")
    given_to = [_checked(background.get(name, ()), f"{key}.{name}") for name in class_names]
    for name, own, given in zip(class_names, texts, given_to, strict=True):
        for phrase in named(given, [own]):
            raise ParamsError(f"{key}.{name}: expected phrases of background, found {phrase!r}, which names the class")
    return BackgroundPhrases.of_classes(given_to)


def proposals(texts: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the phrases that the built-in rule proposes for each class, by its names and phrases."""
    rows = [[row for row in CO_OCCURRING if _is_of(own, row[0])] for own in texts]
    found = [_union([phrases for _, phrases in own]) if own else COMPETITORS for own in rows]
    names = [_union([of_class, *(alike for alike, _ in own)]) for of_class, own in zip(texts, rows, strict=True)]
    of_a_class = named(_union(found), names)
    return [tuple(phrase for phrase in own if phrase not in of_a_class) for own in found]


def without_synonyms(
    background: BackgroundPhrases, classes: Sequence[Sequence[str]], encode: Callable[[Sequence[str]], Tensor]
) -> BackgroundPhrases:
    """Return the phrases that mean no class to an image-text model; see `wildseg.encoders.synonyms`.

    Args:
        background: phrases.
        classes: the phrases of each class.
        encode: from n texts to their unit text features (n, d).
    """
    if not background.phrases:
        return background

    def vectors(texts: Sequence[str]) -> np.ndarray:
        return encode(texts).cpu().double().numpy()

    own, pairs = [vectors(texts) for texts in classes], [vectors(pair) for pair in PAIRS]
    _, matches = find_synonyms(background.phrases, vectors(background.phrases), own, pairs)
    return background.without([match.phrase for match in matches])


def _is_of(texts: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether one of the phrases ends with one of the names, word by word."""
    ends = [stems(name) for name in names]
    return any(stems(text)[-len(end) :] == end for text in texts for end in ends)


def _union(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrase for own in lists for phrase in own))


def _checked(phrases: Sequence[str], key: str) -> Sequence[str]:
    if isinstance(phrases, str) or not all(isinstance(phrase, str) and phrase.strip() for phrase in phrases):
        raise ParamsError(f"{key}: expected a list of phrases, found {phrases!r}")
    return phrases
