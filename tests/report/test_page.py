import base64
import hashlib
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.report.pages import ANSWER, HOSTILE, NAMES, frame_name, made
from wildseg.core.colours import palette
from wildseg.report.document import ASSETS
from wildseg.report.page import Page, render, run_record
from wildseg.report.page_frames import LONGEST_ANSWER, answer_of
from wildseg.report.page_tables import WithoutTruth

ROOT = Path(__file__).parents[2]


class Read(HTMLParser):
    """What a browser finds in a page: scripts, elements with their attributes, and the text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag in ("script", "style"):
            self._inside = found.get("id") or tag
            self.scripts[self._inside] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[self._inside] += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return made(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def found(page: Page) -> Read:
    return Read(render(page)[0])


def test_nothing_that_was_typed_becomes_markup(found: Read) -> None:
    assert sorted(found.scripts) == ["data-classes", "data-frames", "script", "style"]
    assert {"img", "i", "b"} & {tag for tag, _ in found.elements} == set()
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    for text in HOSTILE:
        assert text in found.text


def test_data_are_read_back_as_they_were(found: Read, page: Page) -> None:
    frames = json.loads(found.scripts["data-frames"])
    assert frames == json.loads(json.dumps(page.frames))
    assert frames[2]["answer"] == ANSWER
    assert frames[5]["name"] == frame_name(5)
    classes = json.loads(found.scripts["data-classes"])
    assert [one["name"] for one in classes] == [*NAMES, "undecided"]
    assert [one["id"] for one in classes] == [0, 1, 2, 3, 255]


def test_only_the_script_and_the_style_of_the_page_may_run(found: Read) -> None:
    (policy,) = (a["content"] for tag, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"{digest(found.scripts['script'])} 'self' file:"
    assert rules["style-src"] == digest(found.scripts["style"])
    assert "unsafe" not in policy
    assert not [a for _, a in found.elements if "style" in a]  # the policy would not let it be


def test_no_address_leads_out_of_the_folder(page: Page) -> None:
    whole = render(page)[0] + "".join(path.read_text() for path in ASSETS.iterdir())
    assert re.findall(r"https?:|//[a-z]+\.|@import|url\(", whole) == []
    links = [a["href"] for tag, a in Read(whole).elements if tag == "a"]
    assert links
    assert all(link and link.startswith("#") for link in links)
    ids = {a.get("id") for _, a in Read(whole).elements}
    assert {link[1:] for link in links if link} <= ids


def test_the_same_content_gives_the_same_bytes_and_another_one_another_digest(page: Page, tmp_path: Path) -> None:
    again = made(tmp_path)
    assert render(again) == render(page)
    assert render(made(tmp_path, frames=29))[1] != render(page)[1]


def test_the_error_budget_has_values_steps_and_where_most_is_lost(found: Read, page: Page) -> None:
    budget = page.parts[0].budget
    maps, masks, model = (budget.miou(level).value for level in ("maps", "masks", "model"))
    assert f"{maps:.3f}" in found.text
    assert f"+{model - masks:.3f}" in found.text
    assert f"−{1 - maps:.3f}" in found.text
    # Labels leave 1.0 of it here, and maps are drawn at random.
    assert f"Most is lost by the activation maps, even of the right classes: {1 - maps:.3f} mIoU" in found.text
    assert f"{budget.labels(tested=True)[0].value:.3f}" in found.text


def test_classes_have_intervals_and_confusions_are_shares(found: Read, page: Page) -> None:
    matrix = page.parts[0].matrix
    assert f"{matrix[1, 1] / matrix[1].sum():.0%}" in found.text
    iou = page.parts[0].budget.by_class("model", lambda c: c[..., 0, :] / np.maximum(c.sum(-2), 1))[1]
    assert f"{iou.value:.2f} {iou.interval.low:.2f}–{iou.interval.high:.2f}" in found.text


def test_without_truth_the_page_says_so_and_shows_what_is_known(tmp_path: Path) -> None:
    read = Read(render(made(tmp_path, truth=False))[0])
    assert "No key frame has a truth" in read.text
    assert "Confusion of the model" not in read.text
    assert "pixels on which maps and model agree" in read.text
    assert "70.0%" in read.text
    assert "nan" not in read.text.lower()
    assert len(json.loads(read.scripts["data-frames"])) == 30


def test_without_frames_the_page_says_so(tmp_path: Path) -> None:
    read = Read(render(made(tmp_path, frames=0))[0])
    assert "No frame is shown: there is no key frame" in read.text
    assert json.loads(read.scripts["data-frames"]) == []
    none_wanted = Page(NAMES, palette(NAMES[1:]), False, [], [], [], WithoutTruth(), [], [], all_frames=5)
    assert "eval.report_frames is 0" in Read(render(none_wanted)[0]).text


def test_a_run_record_is_one_call_that_no_text_can_leave() -> None:
    record = {"facts": [["Branch", HOSTILE[0]]], "changed": [["classes", '");hacked=1;("', "</script>"]]}
    script = run_record(record)
    assert script.startswith("wildsegRun({")
    assert json.loads(script.removeprefix("wildsegRun(").removesuffix(");\n")) == record
    assert "<" not in script


def test_answers_of_language_models_are_joined_and_shortened() -> None:
    turns = [{"answered": " I see a lawn. "}, {"asked": "?"}, {"answered": "Lawn."}, "no turn", {"answered": 3}]
    assert answer_of({"turns": turns}) == "I see a lawn.\n\nLawn."
    assert answer_of({}) == answer_of({"turns": "text"}) == ""
    long = answer_of({"turns": [{"answered": "x" * 10_000}]})
    assert len(long) < LONGEST_ANSWER + 50
    assert "data/labels/answers.jsonl" in long


def test_script_and_style_are_installed_with_the_package() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    (pattern,) = data["wildseg.report"]
    assert {path.name for path in ASSETS.parent.glob(pattern)} == {"page.js", "page.css", "diff.js", "theme.js"}
