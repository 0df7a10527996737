"""What mkdocs does not do by itself for this site: pages from other folders, their links, and pages without a place.

The pages are written to be read in the repository, too: links lead to files, also to READMEs outside of docs. On the
site those READMEs are pages of their own. A page of docs that mkdocs.yml does not name is listed under "More".
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

# Pages that lie elsewhere in the repository, by their place there.
ELSEWHERE = {
    "README.md": "index.md",
    "data/truth/README.md": "truth.md",
    "benchmarks/README.md": "benchmarks.md",
    "models/tiny_clip/README.md": "tiny_clip.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")


def on_config(config: Any) -> Any:  # noqa: ANN401
    """Add the pages that the navigation does not name."""
    named = set(re.findall(r"[\w/]+\.md", str(config.nav)))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} | set(ELSEWHERE.values())
    if missing := sorted(pages - named):
        config.nav = [*config.nav, {"More": missing}]
    return config


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401
    """Add the pages that lie outside of docs."""
    for place, name in ELSEWHERE.items():
        if name not in files.src_uris:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:  # noqa: ANN401
    """Let links lead to where a page lies on the site; indented and fenced code is left as it is."""
    places = {name: place for place, name in ELSEWHERE.items() if name != "index.md"}
    folder = posixpath.dirname(places.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    lines = markdown.split("\n")
    return "\n".join(line if line.startswith("    ") else LINK.sub(_moved(folder), line) for line in lines)


def _moved(folder: str) -> Any:  # noqa: ANN401
    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        return match[1] + ELSEWHERE.get(target, target.removeprefix("docs/")) + match[3]

    return link
