"""A page as one HTML file with its style and script inside, which is read offline, from a file.

Its content security policy allows the one script that it holds (by its digest), scripts and pictures of its own folder,
and nothing else: no request leaves it, and no text that was taken for markup by mistake could run.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from wildseg.report.markup import Markup, element, joined

ASSETS = Path(__file__).with_name("assets")


def document(title: str, body: str, script: str, behind: str = Markup("")) -> str:
    """Return a page.

    Args:
        title: of the window.
        body: all that is shown.
        script: its file in `ASSETS`; the style, and the script of dark and light, are those of all pages.
        behind: elements between body and script that show nothing.
    """
    code, style = joined((_asset("theme.js"), _asset(script))), _asset("page.css")
    policy = (
        f"default-src 'none'; img-src 'self' file: data:; style-src {_source(style)}; "
        f"script-src {_source(code)} 'self' file:; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name_="referrer", content="no-referrer"),
        element("title", title),
        element("style", style),
    )
    whole = element("html", head, element("body", body, behind, element("script", code)), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def _asset(name: str) -> Markup:
    return Markup(f"\n{(ASSETS / name).read_text(encoding='utf-8')}")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
