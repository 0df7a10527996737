"""Class names, phrases and ids: the one definition of ids.

Ids in label images: 0 is background, 1..C are the classes in the order of params.yaml, 255 is ignore
(the convention of PASCAL VOC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wildseg.core import colours
from wildseg.core.errors import ParamsError

BACKGROUND = 0
IGNORE = 255
MAX_CLASSES = 254

RESERVED = {
    "background": "id 0, for what is none of the classes; phrases that compete go under 'background:'",
    "ignore": "id 255, for pixels that do not count",
    "frame": "the column of data/labels/scores.csv that names the frame",
}


@dataclass(frozen=True, init=False)
class Classes:
    """The classes to find: `names[i]` has the id `i + 1` in label images and the phrases `phrases[i]` in prompts.

    Attributes:
        names: C names, in the order of their ids.
        phrases: the phrases of each class, its synonyms, in the same order.

    Examples:
        >>> classes = ws.Classes({"lawn": ["lawn", "grass"], "curb": "curb"})
        >>> classes.names, classes.phrases
        (('lawn', 'curb'), (('lawn', 'grass'), ('curb',)))
        >>> classes.with_background[1]
        'lawn'
    """

    names: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]

    def __init__(self, mapping: Mapping[str, Sequence[str] | str]) -> None:
        """Check and build.

        Args:
            mapping: ``{name: [phrase, synonym, ...]}``; a bare string is one phrase. Ids follow its order, from 1.

        Raises:
            ParamsError: no class, more than 254, a reserved or unprintable name, an empty or repeated phrase.
        """
        if mapping is not None and not isinstance(mapping, Mapping):
            raise ParamsError(f"classes: expected names with phrases, such as 'lawn: [lawn, grass]', found {mapping!r}")
        if not mapping:
            raise ParamsError("classes: expected at least one class, found none; write e.g. 'lawn: [lawn, grass]'")
        if len(mapping) > MAX_CLASSES:
            raise ParamsError(f"classes: at most {MAX_CLASSES} fit an 8-bit mask, found {len(mapping)}")
        names: list[str] = []
        phrases: list[tuple[str, ...]] = []
        owner: dict[str, str] = {}
        for name, value in mapping.items():
            _check_name(name, names)
            own = _phrases(name, value)
            for phrase in own:
                if (other := owner.setdefault(phrase.lower(), name)) != name:
                    raise ParamsError(f"classes.{name}: the phrase {phrase!r} already belongs to {other!r}")
            names.append(name)
            phrases.append(own)
        object.__setattr__(self, "names", tuple(names))  # frozen, so not by assignment
        object.__setattr__(self, "phrases", tuple(phrases))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Sequence[str] | str]) -> Classes:
        """Return `Classes(mapping)`; called by the reader of params.yaml for this section."""
        return cls(mapping)

    def __len__(self) -> int:
        """Return C, the number of classes without background."""
        return len(self.names)

    @property
    def with_background(self) -> tuple[str, ...]:
        """Names by id: ``with_background[id]`` for id in 0..C."""
        return ("background", *self.names)

    def palette(self, own: Mapping[str, str] | None = None) -> np.ndarray:
        """Return colours by id: (256, 3) uint8 RGB; background black, ignore near-white.

        They depend on the classes' names, not on their order, and no two are hardly distinguishable.

        Args:
            own: colours of your own for some of them, such as ``{"lawn": "#33aa77"}``.

        Raises:
            ParamsError: one of no class, no colour, or two that cannot be told apart.
        """
        colours.check(own or {}, self.names)
        return colours.palette(self.names, own)


def _phrases(name: str, value: object) -> tuple[str, ...]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not entries:
        raise ParamsError(f"classes.{name}: expected one or more phrases, found {value!r}")
    own: list[str] = []
    for entry in entries:
        if not isinstance(entry, str) or not entry.strip():
            raise ParamsError(f"classes.{name}: expected phrases, found {entry!r}")
        if entry.strip().lower() in {phrase.lower() for phrase in own}:
            raise ParamsError(f"classes.{name}: the phrase {entry!r} occurs twice")
        own.append(entry.strip())
    return tuple(own)


def _check_name(name: object, earlier: Sequence[str]) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ParamsError(f"classes: expected a name, found {name!r}; put quotes around it if it is one")
    if name.lower() in RESERVED:
        raise ParamsError(f"classes.{name}: this name is reserved ({RESERVED[name.lower()]}); choose another")
    if set(name) & set(",./\\\"'") or name != name.strip() or not name.isprintable():
        raise ParamsError(f"classes.{name!r}: a name may not hold commas, dots, slashes, quotes or outer spaces")
    if name.lower() in {other.lower() for other in earlier}:
        raise ParamsError(f"classes.{name}: this class occurs twice (letter case does not count)")
