"""The page in a headless Chromium: no error, no request out of its folder, and what keys, filters and sorts do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser, browser
from tests.report.pages import ANSWER, HOSTILE, frame_name, made
from wildseg.report.page import RECORDS, render, run_record

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
NAMES = "[...document.querySelectorAll('.frame')].map((one) => one.dataset.name)"
FOCUS = "document.activeElement.dataset.name"
LARGE = "document.querySelector('#large h3').textContent"
PRESSED = "document.querySelector('#large [aria-pressed=true]').firstChild.textContent"


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with browser() as one:
        yield one


def write(folder: Path, record: bool = True, **changes: int) -> Path:
    text, digest = render(made(folder, **changes))
    (folder / "index.html").write_text(text, encoding="utf-8")
    if record:
        (folder / RECORDS).mkdir()
        changed = [["label.threshold", HOSTILE[1], "0.5"]]
        script = run_record({"facts": [["Commit", HOSTILE[0]]], "changed": changed})
        (folder / RECORDS / f"{digest}.js").write_text(script, encoding="utf-8")
    return folder / "index.html"


@pytest.fixture
def page(started: Browser, tmp_path: Path) -> Iterator[Browser]:
    """The browser on a page of 30 frames, which is left without an error and without a request out of its folder."""
    folder = tmp_path / "re port #1"
    folder.mkdir()
    started.open(write(folder))
    started.wait(f"{NAMES}.length > 0")
    yield started
    assert started.errors == []
    assert started.requests
    assert [url for url in started.requests if not url.startswith(folder.as_uri())] == []
    assert started.run("typeof hacked") == "undefined"


def test_pictures_and_the_record_of_the_run_are_loaded(page: Browser) -> None:
    page.run("document.querySelector('.frame').scrollIntoView()")  # pictures are loaded when they are near
    page.wait("[...document.querySelector('.frame').querySelectorAll('img')].every((one) => one.naturalWidth > 0)")
    page.wait("document.querySelector('#run-record h3')")
    record = page.run("document.getElementById('run-record').textContent")
    assert HOSTILE[0] in record
    assert HOSTILE[1] in record
    # Maps of a sheet lie below each other: that of the second label is two windows further down.
    page.run("document.querySelector('.frame').focus()")
    page.press("2")
    top, height = page.run(
        "(() => { const one = document.querySelector('.frame .pane .layer');"
        " return [one.style.top, one.style.height]; })()"
    )
    assert (top, height) == ("-205%", "306%")  # a hundredth of each is cut off at its edges


def test_frames_are_filtered_by_class_and_sorted(page: Browser) -> None:
    assert page.run(NAMES)[:3] == [frame_name(index) for index in range(3)]
    page.choose("#sort", "worst")
    ious = "JSON.parse(document.getElementById('data-frames').textContent).map((one) => [one.miou, one.name]).sort((a, b) => a[0] - b[0]).map((one) => one[1])"  # noqa: E501
    assert page.run(f"{NAMES}.slice(0, 5)") == page.run(f"{ious}.slice(0, 5)")
    page.choose("#filter-class", "2")
    page.choose("#filter-kind", "missed")
    assert page.run(NAMES) == [frame_name(7)]
    page.choose("#filter-class", "")
    page.choose("#filter-kind", "wrong")
    assert page.run(NAMES) == [frame_name(4)]
    page.choose("#filter-kind", "anywhere")
    page.choose("#filter-split", "trained on")
    page.choose("#sort", "time")
    assert page.run(NAMES) == [frame_name(index) for index in range(0, 30, 2)]
    assert "15 of 30 frames" in page.run("document.getElementById('tools').textContent")
    page.choose("#filter-class", "1")
    page.choose("#filter-kind", "missed")
    assert "No frame is like that" in page.run("document.getElementById('list').textContent")


def test_frames_are_gone_through_and_opened_by_keys(page: Browser) -> None:
    page.run("document.querySelector('.frame').focus()")
    page.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert page.run(FOCUS) == frame_name(1)
    page.press("Enter")
    assert page.run("document.getElementById('large').open")
    assert page.run(LARGE) == frame_name(1)
    assert page.run(PRESSED).startswith("model")
    page.press("ArrowRight")
    assert page.run(LARGE) == frame_name(2)
    assert page.run("document.querySelector('.answer').textContent") == ANSWER
    for key, title in (("t", "truth"), ("c", "confidence"), ("2", f"map: {HOSTILE[2]}"), ("p", "pseudo mask")):
        page.press(key)
        assert page.run(PRESSED).startswith(title)
    page.press("ArrowLeft", "ArrowLeft", "ArrowLeft")  # the first frame is the end
    assert page.run(LARGE) == frame_name(0)
    page.press("Escape")
    assert not page.run("document.getElementById('large').open")
    page.wait(f"{FOCUS} === {json.dumps(frame_name(0))}")  # the browser's own choice, frame 1, comes first


def test_all_frames_are_reached_by_going_on(page: Browser) -> None:
    page.run("document.querySelector('.frame').focus()")
    page.press(*["ArrowDown"] * 29)
    assert page.run(FOCUS) == frame_name(29)
    assert page.run(f"{NAMES}.length") == 30


def test_of_two_thousand_frames_only_those_in_view_are_loaded(started: Browser, tmp_path: Path) -> None:
    started.open(write(tmp_path, frames=2000))
    started.wait(f"{NAMES}.length > 0")
    assert "2000 of 2000 frames" in started.run("document.getElementById('tools').textContent")
    started.choose("#sort", "worst")
    started.choose("#filter-kind", "wrong")
    started.choose("#filter-class", "3")
    assert started.run(NAMES) == [frame_name(4)]
    started.choose("#filter-class", "")
    started.choose("#filter-kind", "anywhere")
    started.run("document.querySelector('.frame').focus()")
    started.press("ArrowDown", "ArrowDown", "Enter")
    assert started.run("document.getElementById('large').open")
    started.press("Escape")
    assert started.run(f"{NAMES}.length") < 200
    assert 0 < len([url for url in started.requests if "/frames/" in url]) < 600  # of some 6000 pictures
    assert started.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_dark_and_light_follow_the_system_and_the_button_and_text_is_readable(page: Browser, theme: str) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    page.run("localStorage.clear()")
    page.call("Page.reload")
    page.wait(f"document.documentElement?.dataset.theme === '{theme}' && {NAMES}.length")
    lightness = "(name) => { const [r, g, b] = getComputedStyle(document.body)[name].match(/[0-9.]+/g).map(Number); return (r + g + b) / 3; }"  # noqa: E501
    paper, ink = (page.run(f"({lightness})('{name}')") for name in ("backgroundColor", "color"))
    assert abs(paper - ink) > 150
    assert (paper > ink) == (theme == "light")
    page.run("document.getElementById('theme').click()")
    assert page.run("document.documentElement.dataset.theme") == {"light": "dark", "dark": "light"}[theme]
    page.run("localStorage.clear()")


def test_a_narrow_window_needs_no_scrolling_sideways(page: Browser) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=420, height=800, deviceScaleFactor=1, mobile=False)
    assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_without_truth_without_frames_and_without_a_record_nothing_breaks(started: Browser, tmp_path: Path) -> None:
    for name, changes in (("none", {"frames": 0}), ("unknown", {"truth": False})):
        (tmp_path / name).mkdir()
        started.open(write(tmp_path / name, **changes))
        assert started.errors == []
    started.wait(f"{NAMES}.length > 0")
    assert started.run("[...document.querySelectorAll('#sort option')].map((one) => one.value)") == [
        "time", "uncertain", "masks", "maps",
    ]  # fmt: skip
    started.run("document.querySelector('.frame').focus()")
    started.press("Enter", "t")
    assert started.run(PRESSED).startswith("model")
    (tmp_path / "pulled").mkdir()
    started.open(write(tmp_path / "pulled", record=False, frames=3))
    started.wait(f"{NAMES}.length > 0")
    assert "git log" in started.run("document.getElementById('run-record').textContent")
    assert [error for error in started.errors if "ERR_FILE_NOT_FOUND" not in error] == []
