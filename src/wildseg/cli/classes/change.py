"""A change of the list of classes: what becomes of each class, and of ids, labels, scores and maps of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wildseg.core.classes import IGNORE, Classes
from wildseg.core.errors import ParamsError, did_you_mean


@dataclass(frozen=True)
class Change:
    """From the old classes to the new ones.

    what: the command in words. old, new: phrases by class, in the order of ids. places: for each old class the index of
    the new one that it becomes; None where its pixels may be of several, and become 255.
    """

    what: str
    old: Mapping[str, Sequence[str]]
    new: Mapping[str, Sequence[str]]
    places: tuple[int | None, ...]

    @property
    def names(self) -> dict[str, str | None]:
        """The new name of each old class, None where it is undefined."""
        new = tuple(self.new)
        return {name: None if at is None else new[at] for name, at in zip(self.old, self.places, strict=True)}

    @property
    def keeps_ids(self) -> bool:
        """Whether every class keeps its id, so that maps, masks and the model need no other numbers."""
        return self.places == tuple(range(len(self.new)))

    @property
    def is_defined(self) -> bool:
        """Whether labels and maps of all old classes are labels and maps of new ones."""
        return None not in self.places

    @property
    def ids(self) -> np.ndarray:
        """The new id by old id, (256,) uint8: 0 stays background, what is undefined or no class is 255."""
        table = np.full(256, IGNORE, np.uint8)
        table[0] = 0
        for index, place in enumerate(self.places):
            table[index + 1] = IGNORE if place is None else place + 1
        return table

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Return (n, K') of (n, K) scores, or of labels as bool: the largest value of the classes that became one.

        Raises:
            ValueError: the change is undefined for a class.
        """
        out = np.zeros((len(values), len(self.new)), values.dtype)
        for index, place in enumerate(self.places):
            if place is None:
                raise ValueError(self.what)
            out[:, place] = np.maximum(out[:, place], values[:, index])
        return out

    def maps(self, classes: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the (indices (K',), maps (K', h, w)) of a frame from its (indices (K,), maps (K, h, w)).

        Maps of classes that became one are merged by the maximum of each pixel.

        Raises:
            ValueError: the change is undefined for a class, or an index is of no class.
        """
        found: dict[int, np.ndarray] = {}
        for index, own in zip(classes.tolist(), maps, strict=True):
            place = self.places[index] if 0 <= index < len(self.places) else None
            if place is None:
                raise ValueError(f"a map of the class {index}, which {self.what} does not define")
            found[place] = np.maximum(found[place], own) if place in found else own
        order = sorted(found)
        stacked = np.stack([found[place] for place in order]) if order else maps[:0]
        return np.array(order, np.int16), stacked


def rename(old: Mapping[str, Sequence[str]], name: str, better: str) -> Change:
    """Return the change by which the class `name` has another name, and all its phrases and its id.

    Raises:
        ParamsError: there is no such class, or the new name is taken or no name.
    """
    _known(old, name)
    if better != name and better in old:
        raise ParamsError(
            f"classes.{better}: this class exists; 'wildseg classes merge {better} {name}' makes one of both"
        )
    new = {better if own == name else own: phrases for own, phrases in old.items()}
    return _checked(f"rename {name} {better}", old, new, range(len(old)))


def merge(old: Mapping[str, Sequence[str]], into: str, parts: Sequence[str]) -> Change:
    """Return the change by which `parts`, and `into` where that is a class, become the class `into`, with all phrases.

    It stands where `into` stood, or the first of the parts.

    Raises:
        ParamsError: there is no such class, or only one would be merged.
    """
    for name in parts:
        _known(old, name)
    merged = [name for name in old if name in parts or name == into]
    if len(merged) < 2:
        raise ParamsError(
            f"classes: expected two classes or more to merge into {into}, found {', '.join(merged)}; "
            f"'wildseg classes rename {merged[0]} {into}' renames one"
        )
    stays = into if into in old else merged[0]
    phrases = [phrase for name in (stays, *(one for one in merged if one != stays)) for phrase in old[name]]
    new = {
        into if name == stays else name: phrases if name == stays else list(own)
        for name, own in old.items()
        if name == stays or name not in merged
    }
    order = list(new)
    places = [order.index(into if name in merged else name) for name in old]
    return _checked(f"merge {into} {' '.join(parts)}", old, new, places)


def reorder(old: Mapping[str, Sequence[str]], first: Sequence[str]) -> Change:
    """Return the change by which the classes `first` stand first, in this order, and the others follow as they stood.

    Raises:
        ParamsError: there is no such class, or one is named twice.
    """
    for name in first:
        _known(old, name)
        if first.count(name) > 1:
            raise ParamsError(f"classes.{name}: expected each class once in the new order")
    order = [*first, *(name for name in old if name not in first)]
    places = [order.index(name) for name in old]
    return _checked(f"reorder {' '.join(first)}", old, {name: old[name] for name in order}, places)


def split(old: Mapping[str, Sequence[str]], name: str, parts: Mapping[str, Sequence[str]]) -> Change:
    """Return the change by which the class `name` becomes several, with phrases each; its pixels are undefined.

    Raises:
        ParamsError: there is no such class, only one new one, or a name or phrase is taken.
    """
    _known(old, name)
    if len(parts) < 2:
        raise ParamsError(f"classes.{name}: expected two classes or more to split it into, found {', '.join(parts)}")
    for part in parts:
        if part != name and part in old:
            raise ParamsError(f"classes.{part}: this class exists; choose another name for a part of {name}")
    new: dict[str, Sequence[str]] = {}
    for own, phrases in old.items():
        new |= parts if own == name else {own: phrases}
    order = list(new)
    places = [None if own == name else order.index(own) for own in old]
    return _checked(f"split {name} {' '.join(parts)}", old, new, places)


def _known(old: Mapping[str, Sequence[str]], name: str) -> None:
    if name not in old:
        raise ParamsError(f"classes: there is no class {name!r}{did_you_mean(name, old)}")


def _checked(
    what: str, old: Mapping[str, Sequence[str]], new: Mapping[str, Sequence[str]], places: Sequence[int | None]
) -> Change:
    if list(new.items()) == list(old.items()):
        raise ParamsError(f"classes: '{what}' changes nothing")
    Classes(new)
    return Change(what, old, new, tuple(places))
