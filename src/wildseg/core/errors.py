"""Errors that a user can act on: each states what was expected, what was found, and what to do next."""

from __future__ import annotations

import difflib
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path

# Unicode's categories of control characters, of surrogates, which represent undecodable bytes in the
# name of a file, and of the ends of lines and paragraphs.
UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
# Characters that change the direction of the text that follows, so that a line is displayed as another one.
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class WildsegError(Exception):
    """A mistake in the input, the parameters or the environment; the CLI prints its one line and exits with 1."""


class ParamsError(WildsegError):
    """A key or value in params.yaml that means nothing."""


class DataError(WildsegError):
    """A file that is missing, unreadable or at odds with the rest."""


class SystemFailure(DataError):
    """A file that the system could not read at this moment; its content may be valid."""


class ModelError(WildsegError):
    """Weights or an architecture that do not exist or do not fit."""


class SpecialFile(OSError):
    """A named pipe, a socket or a device: reading it may wait, or go on, for ever."""

    def __str__(self) -> str:
        """Return the kind of file, without an error number."""
        return str(self.strerror)


SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: Path) -> None:
    """Refuse a special file, which may never end, before it is opened; a folder is left to the caller.

    Raises:
        SpecialFile: a named pipe, a socket or a device lies there.
        OSError: nothing does, or it cannot be inspected.
    """
    mode = path.stat().st_mode
    for is_one, name in SPECIAL:
        if is_one(mode):
            raise SpecialFile(None, f"it is {name}, not a file", str(path))


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest text of `known`, or an empty string if nothing is near."""
    words = [one for one in known if isinstance(one, str)]
    nearest = difflib.get_close_matches(word, words, n=1, cutoff=0.5) if isinstance(word, str) else []
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def one_of(key: str, value: object, known: tuple[str, ...]) -> None:
    """Raise a ParamsError that lists what is known, and names the nearest, unless `value` is among it."""
    if value not in known:
        raise ParamsError(f"{key}: expected one of {', '.join(known)}; found {value!r}{did_you_mean(value, known)}")


def one_line(text: str) -> str:
    r"""Return `text` as one line that every program can read and that steers no terminal: a line end becomes ``\n``."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in UNPRINTABLE or character in TURNING
        else character
        for character in text
    )


def words_of(text: str) -> str:
    """Return the message of another program as one line: line ends become spaces, control characters escapes."""
    return one_line(" ".join(text.split()))
