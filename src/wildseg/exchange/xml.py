"""XML of other tools, read without document types: an entity could name a file, or grow to gigabytes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from wildseg.core.errors import DataError

DEEPEST = 100  # elements within elements


class _Refused(Exception):
    pass


def parse(path: Path, content: bytes) -> ElementTree.Element:
    """Return the root of a document.

    Args:
        path: of the file, for the error line.
        content: of the file.

    Raises:
        DataError: it is not XML, or declares a document type.
    """
    try:
        _check(content)
        return ElementTree.fromstring(content)
    except (_Refused, expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: expected XML ({error})") from error


def _check(content: bytes) -> None:
    """Raise before an entity is declared, and where elements are nested too deeply."""
    depth = 0

    def refuse(*_: object) -> None:
        raise _Refused("it declares a document type, which no annotation tool writes")

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise _Refused(f"more than {DEEPEST} elements lie within each other")

    def leave(_: object) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = enter, leave
    parser.Parse(content, True)
