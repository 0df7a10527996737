"""HTML and SVG by functions: text is escaped unless it is `Markup`, so that no name becomes markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable


class Markup(str):
    """Text that is markup already; all other text is escaped where it becomes part of an element."""

    __slots__ = ()


VOID = frozenset({"meta", "br", "img", "input"})  # of HTML: without an end tag


def element(name: str, *content: str, **attributes: object) -> Markup:
    """Return an element with its content.

    Args:
        name: of the element.
        content: text, which is escaped, or `Markup`.
        attributes: None and False are left out, True is an attribute without a value. A trailing underscore is dropped
            (``class_``), others become hyphens (``stroke_width``).
    """
    opening = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Markup(f"<{name}{opening}>" if name in VOID else f"<{name}{opening}>{joined(content)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Return parts one after the other, escaped where they are no `Markup`."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def json_for_script(value: object) -> str:
    """Return JSON that can stand inside of a script element: no ``<`` ends or begins one."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half of a surrogate pair, which a language model may emit, cannot be encoded.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'
