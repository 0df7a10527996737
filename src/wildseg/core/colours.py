"""Colours of classes, by their names: sky blue, water blue, lawn light green; the same wherever a class is shown.

A class has the colour that a person chose for it, else the one of what its name says, else one drawn from its name. The
order of classes changes none, and no two are hardly distinguishable: a class whose colour is taken, or nearly, has the
nearest one that is not. Label images between stages have other colours, see `wildseg.core.id_colours`.
"""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from wildseg.core.colour_words import COLOUR_WORDS, IRREGULAR, SURFACES, THINGS
from wildseg.core.errors import ParamsError, did_you_mean

Rgb = tuple[int, int, int]

BACKGROUND, UNDECIDED = (0, 0, 0), (245, 245, 240)

HEX = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})\Z")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")

KNOWN = (THINGS, COLOUR_WORDS, SURFACES)  # the first that has a phrase of a name says its colour
WORDS = frozenset(word for phrases in KNOWN for phrase in phrases for word in phrase.split())
ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"))  # of plurals, and what of the singular stands there

# Distances in Lab (CIE 1976), in which 2.3 is just noticeable side by side; half of it is left in an overlay.
ALIKE = 10.0  # a person may choose no two colours nearer than this
APART = 15.0  # from all others, for a class to have the colour that its name says
SPACINGS = (26.0, 20.0, 15.0, 12.0, 10.0, 8.0, 6.0, 4.0, 0.0)  # of colours found for the others, the first that can be
LEVELS = np.array([0, 32, 64, 96, 128, 160, 192, 224, 255], np.uint8)  # of each channel of those found


def palette(names: Sequence[str], own: Mapping[str, str] | None = None) -> np.ndarray:
    """Return the colours of classes by id: (256, 3) uint8 RGB, background black, all that is no class nearly white.

    Args:
        names: of the ids 1, 2, ...
        own: colours that a person chose, by name, as ``"#rrggbb"`` or ``"#rgb"``; those of other names do not count.
    """
    chosen = {name: text for name, text in (own or {}).items() if name in names}
    return _palette(tuple(names), tuple(sorted(chosen.items())))


@cache
def _palette(names: tuple[str, ...], own: tuple[tuple[str, str], ...]) -> np.ndarray:
    colours = np.full((256, 3), UNDECIDED, np.uint8)
    colours[0] = BACKGROUND
    by_name = _assigned(names, {name: _rgb(text) for name, text in own})
    for id_, name in enumerate(names, 1):
        colours[id_] = by_name[name]
    colours.flags.writeable = False
    return colours


def hex_colour(rgb: np.ndarray | Rgb) -> str:
    """Return a colour, (3,) uint8 RGB or three such numbers, as ``"#rrggbb"``."""
    return "#" + bytes(rgb).hex()


def check(own: Mapping[str, str], names: Sequence[str]) -> None:
    """Reject colours, by name as a person wrote them, that cannot be shown or told apart.

    Raises:
        ParamsError: of no class, no colour, or hardly different from another, the background or undecided pixels.
    """
    for name, text in own.items():
        if name not in names:
            raise ParamsError(f"colours.{name}: there is no such class{did_you_mean(name, names)}")
        if not isinstance(text, str) or not HEX.match(text):
            raise ParamsError(f'colours.{name}: expected a colour such as "#33aa77" or "#3a7", found {text!r}')
        if distance(_rgb(text), BACKGROUND) < ALIKE:
            raise ParamsError(f"colours.{name}: expected a colour other than that of the background, "
                              f"{hex_colour(BACKGROUND)}, found {text}; choose a lighter one")  # fmt: skip
        if distance(_rgb(text), UNDECIDED) < ALIKE:
            raise ParamsError(f"colours.{name}: expected a colour other than that of undecided pixels, "
                              f"{hex_colour(UNDECIDED)}, found {text}; choose a darker one")  # fmt: skip
    for (one, first), (other, second) in combinations(own.items(), 2):
        if (apart := distance(_rgb(first), _rgb(second))) < ALIKE:
            raise ParamsError(f"colours: expected colours that can be told apart, found {first} of {one} and {second} "
                              f"of {other}, {apart:.1f} apart in Lab; choose two at least {ALIKE:g} apart")  # fmt: skip


# Which class has which colour ---------------------------------------------------------------------------------------


def _assigned(names: Sequence[str], own: Mapping[str, Rgb]) -> dict[str, Rgb]:
    """Return the colour of each class: chosen ones, then those that names say, then the nearest free ones.

    Names are gone through in alphabetical order, so that the order of classes does not matter.
    """
    found = _Colours(own)
    others = sorted(set(names) - set(own))
    said = {name: text for name in others if (text := named_colour(name))}
    for name, text in said.items():
        found.grant(name, _rgb(text))
    for name in [*said, *(name for name in others if name not in said)]:
        if name not in found.by_name:
            found.find(name, _rgb(said[name]) if name in said else _drawn(name))
    return found.by_name


class _Colours:
    """Colours by class, and of each colour that may be found its distance to the nearest of them."""

    def __init__(self, own: Mapping[str, Rgb]) -> None:
        levels = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS, indexing="ij"), -1)
        self._free = levels.reshape(-1, 3)
        self._lab = lab(self._free)
        self._nearest = np.full(len(self._free), np.inf)
        self._taken: list[Rgb] = []
        self.by_name: dict[str, Rgb] = {}
        for colour in (BACKGROUND, UNDECIDED):
            self._take(colour)
        for name, colour in own.items():
            self.by_name[name] = colour
            self._take(colour)

    def _take(self, colour: Rgb) -> None:
        self._taken.append(colour)
        self._nearest = np.minimum(self._nearest, np.linalg.norm(self._lab - lab(colour), axis=-1))

    def grant(self, name: str, wish: Rgb) -> None:
        """Give a class the colour of its name, unless another has one like it."""
        if min(distance(wish, colour) for colour in self._taken) >= APART:
            self.by_name[name] = wish
            self._take(wish)

    def find(self, name: str, wish: Rgb) -> None:
        """Give a class the colour nearest to `wish` that is far enough from all others."""
        spacing = next(spacing for spacing in SPACINGS if (self._nearest >= spacing).any())
        away = np.linalg.norm(self._lab - lab(wish), axis=-1)
        best = int(np.where(self._nearest >= spacing, away, np.inf).argmin())
        red, green, blue = self._free[best].tolist()
        self.by_name[name] = red, green, blue
        self._take(self.by_name[name])


def named_colour(name: str) -> str | None:
    """Return the colour of what a name says, as ``"#rrggbb"``; None where it says nothing known.

    The longest known words count, and of several the last: a "tree trunk" is a trunk. What something is made of counts
    more than that it is a road, a path or ground: a "gravel road" is gravel. A "bike lane" is no bike.
    """
    words = [_singular(word.lower()) for word in WORD.findall(name)]
    phrases = list(_phrases(words))
    return next((known[one] for known in KNOWN for one in phrases if one in known), None)


def _phrases(words: Sequence[str]) -> Iterator[str]:
    """Yield the known phrases of a name that are no part of a longer one, the longest first, of several the last."""
    free = [True] * len(words)
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length, -1, -1):
            phrase = " ".join(words[start : start + length])
            if all(free[start : start + length]) and any(phrase in known for known in KNOWN):
                free[start : start + length] = [False] * length
                yield phrase


def _singular(word: str) -> str:
    """Return the known word that a word is the plural of; the word itself where that is known, or none is."""
    plurals = (word.removesuffix(end) + better for end, better in ENDINGS if word.endswith(end))
    return next((one for one in (word, IRREGULAR.get(word), *plurals) if one in WORDS), word)


def _drawn(name: str) -> Rgb:
    """Return a strong colour that depends on the name alone."""
    hue, saturation, value = (byte / 255 for byte in hashlib.sha256(name.encode("utf-8", "replace")).digest()[:3])
    channels = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * saturation, 0.55 + 0.4 * value)
    red, green, blue = (round(channel * 255) for channel in channels)
    return red, green, blue


def _rgb(text: str) -> Rgb:
    digits = text[1:] if len(text) == 7 else "".join(digit * 2 for digit in text[1:])
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


# Distances ----------------------------------------------------------------------------------------------------------


def distance(one: Rgb, other: Rgb) -> float:
    """Return how far two colours are apart in Lab (CIE 1976)."""
    return float(np.linalg.norm(lab(one) - lab(other)))


def lab(rgb: ArrayLike) -> np.ndarray:
    """Return the CIE 1976 L*a*b* of sRGB colours (..., 3) uint8 under D65: (..., 3) float64.

    IEC 61966-2-1 has the transfer function and primaries, CIE 15 the rest.
    """
    share = np.asarray(rgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    relative = linear @ (to_xyz / to_xyz.sum(1, keepdims=True)).T
    x, y, z = np.moveaxis(
        np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
