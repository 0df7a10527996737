"""The documents: README is short, and every link inside the project leads somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()]  # fmt: skip


def test_readme_is_a_story_of_two_hundred_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_of_the_project_leads_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_every_page_of_docs_is_reached_from_readme() -> None:
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        links = {
            (page.parent / link).resolve()
            for page in new
            for link in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        }
        new = {link for link in links if link.exists()} - reached
    assert set((ROOT / "docs").glob("*.md")) <= reached


def test_the_tree_of_the_house_is_what_the_rooms_say_of_themselves() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    said = dict(re.findall(r"^      (\w+)/ +(.*)$", page, re.MULTILINE))
    rooms = {path.parent.name: path.read_text() for path in ROOT.glob("src/wildseg/*/__init__.py")}
    assert said == {room: text.split('"""')[1] for room, text in rooms.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_the_code_that_a_page_names_exists(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # names what there was
    named = re.findall(r"`((?:\w+/)+[\w*]+\.py)`", page.read_text())
    places = ["", "src/", "src/wildseg/", "src/wildseg_demo/", "models/tiny_clip/"]
    assert [name for name in named if not any(list(ROOT.glob(f"{place}{name}")) for place in places)] == []
