"""Writes docs/api.md, the page of the public API, from signatures and docstrings: ``python docs/api.py [--check]``.

With ``--check`` nothing is written, and a page that is not current is an error.
griffe reads the source without importing it and takes Google docstrings apart; what it warns of is an error here.
"""

from __future__ import annotations

import argparse
import logging
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from griffe import DocstringSectionKind as Kind

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
NOTE = "<!-- Written by docs/api.py from the docstrings in src/wildseg; edit those, then run 'make docs'. -->"
OPTIONS = {"returns_multiple_items": False}
OPAQUE = ("Clip",)  # handed from one function to the next; what it can do is the matter of methods
HEADINGS = {
    Kind.parameters: "Arguments",
    Kind.attributes: "Attributes",
    Kind.returns: "Returns",
    Kind.raises: "Raises",
}


class Warnings(logging.Handler):
    """Collects what griffe warns of, such as an argument that a signature does not have."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Add one."""
        self.lines.append(record.getMessage())


def page() -> tuple[str, list[str]]:
    """Return the page, and what griffe warned of while it read the docstrings."""
    warnings = Warnings()
    logging.getLogger("griffe").addHandler(warnings)
    try:
        package = griffe.load(
            "wildseg",
            search_paths=[ROOT / "src"],
            docstring_parser="google",
            docstring_options=OPTIONS,
            allow_inspection=False,
        )
        text = "\n".join(_page(package)).rstrip() + "\n"
    finally:
        logging.getLogger("griffe").removeHandler(warnings)
    return text, warnings.lines


def _page(package: Any) -> Iterator[str]:  # noqa: ANN401
    members = [package.members[name] for name in package.exports]
    objects = [member.final_target if member.is_alias else member for member in members]
    objects.sort(key=lambda each: (_is_error(each), each.is_class, str(each.filepath), each.lineno))
    yield from ("# The Python API", "", NOTE, "")
    yield from _code_blocks(package.docstring.value.split("\n", 2)[2])
    yield from ("| name | what it is |", "| --- | --- |")
    for each in objects:
        yield f"| [`{each.name}`](#{each.name.lower()}) | {_first_line(each)} |"
    yield ""
    for each in objects:
        yield from _object(each, f"## {each.name}")


def _object(each: Any, heading: str) -> Iterator[str]:  # noqa: ANN401
    yield from (heading, "")
    if each.is_class and not _is_error(each):
        constructor = each.members.get("__init__")
        if constructor is not None and constructor.docstring is not None and each.name == "Classes":
            yield from _signature(constructor, each.name)
    elif each.is_function:
        yield from _signature(each, each.name)
    yield from _docstring(each)
    if each.is_class and not _is_error(each):
        for member in each.members.values():
            if member.name == "__init__" and each.name == "Classes":
                yield from _docstring(member, text=False)
            elif _is_shown(member):
                yield from _member(each, member)


def _member(owner: Any, member: Any) -> Iterator[str]:  # noqa: ANN401
    name = f"{owner.name}.{member.name}"
    if member.is_attribute:  # a property
        yield from (f"### {name}", "", f"`{member.annotation}`", "")
        yield from _docstring(member)
    else:
        yield from _object(member, f"### {name}")


def _is_shown(member: Any) -> bool:  # noqa: ANN401
    hidden = member.name.startswith("_") or member.docstring is None or member.parent.name in OPAQUE
    return not hidden and "classmethod" not in member.labels


def _is_error(each: Any) -> bool:  # noqa: ANN401
    return each.is_class and each.name.endswith("Error")


def _first_line(each: Any) -> str:  # noqa: ANN401
    return each.docstring.value.split("\n", 1)[0]


def _signature(function: Any, name: str) -> Iterator[str]:  # noqa: ANN401
    parameters, star = [], False
    for one in function.parameters:
        if one.name == "self":
            continue
        if one.kind is griffe.ParameterKind.keyword_only and not star:
            parameters.append("*")
            star = True
        annotation = f": {one.annotation}" if one.annotation else ""
        default = f" = {one.default}" if one.default is not None else ""
        parameters.append(f"{one.name}{annotation}{default}")
    returned = f" -> {function.returns}" if str(function.returns) not in ("None", "") and name == function.name else ""
    whole = f"{name}({', '.join(parameters)}){returned}"
    yield "```python"
    if len(whole) <= 100:
        yield whole
    else:
        yield f"{name}("
        yield from (f"    {one}," for one in parameters)
        yield f"){returned}"
    yield from ("```", "")


def _docstring(each: Any, *, text: bool = True) -> Iterator[str]:  # noqa: ANN401
    for section in each.docstring.parsed if each.docstring else ():
        if section.kind is Kind.text:
            if text:
                yield from _code_blocks(section.value)
        elif section.kind is Kind.examples:
            yield from ("Example:", "", "```pycon")
            yield from (line for _, block in section.value for line in block.splitlines())
            yield from ("```", "")
        else:
            yield from (f"{HEADINGS[section.kind]}:", "")
            yield from (_item(section.kind, one) for one in section.value)
            yield ""


def _item(kind: Kind, one: Any) -> str:  # noqa: ANN401
    words = " ".join(one.description.split()).replace("``", "`")
    if kind is Kind.returns:
        return f"- {words}"
    return f"- `{one.annotation if kind is Kind.raises else one.name}`: {words}"


def _code_blocks(text: str) -> Iterator[str]:
    """Fence indented code, so that it is coloured as Python, and take reStructuredText's double backticks away."""
    for paragraph in text.replace("``", "`").strip("\n").split("\n\n"):
        lines = textwrap.dedent(paragraph).splitlines()
        yield from ("```python", *lines, "```") if paragraph.startswith("    ") else lines
        yield ""


def main() -> None:
    """Write or check the page; exit with what griffe warned of."""
    parser = argparse.ArgumentParser(description="Write docs/api.md from the docstrings of the public API.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is not current")
    check = parser.parse_args().check
    text, warnings = page()
    if warnings:
        raise SystemExit("\n".join(warnings))
    if check and PAGE.read_text(encoding="utf-8") != text:
        raise SystemExit("docs/api.md is not what the docstrings say now; run 'make docs'")
    if check:
        return
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
