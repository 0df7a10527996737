"""The documentation: built without a warning, offline, and with commands that the programs understand."""

from __future__ import annotations

import contextlib
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.pages import PAGES, ROOT, Command, commands
from tests.programs import python
from wildseg.cli.main import main

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
WILDSEG = [command for page in PAGES for command in commands(page, "wildseg")]
DVC = [command for page in PAGES for command in commands(page, "dvc")]

# Commands ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def any_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a page names need not exist."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)


def parse(words: tuple[str, ...]) -> click.Context:
    """Parse words as the command line does, and run nothing; raises click's error where it would print one."""
    command: click.Command = main
    context, rest = None, list(words[1:])
    while True:
        context = command.make_context(command.name or words[0], rest, parent=context)
        if not isinstance(command, click.Group):
            return context
        rest = [*context._protected_args, *context.args]
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None, words
        command = found


@pytest.mark.parametrize("command", WILDSEG, ids=str)
@pytest.mark.usefixtures("any_path")
def test_the_command_line_understands_every_command_of_the_pages(command: Command) -> None:
    if command.words == ("wildseg",):  # prints the help, or completes
        return
    with contextlib.suppress(click.exceptions.Exit):  # --help
        parse(command.words)


@pytest.mark.usefixtures("any_path")
def test_a_command_that_does_not_exist_would_be_found() -> None:
    for words in (("wildseg", "sumary"), ("wildseg", "new", "a.mp4"), ("wildseg", "cache", "--prune-to", "3")):
        with pytest.raises(click.UsageError):
            parse(words)
    assert len(WILDSEG) > 60
    assert len(DVC) > 40


@pytest.mark.parametrize("command", DVC, ids=str)
def test_dvc_understands_every_command_of_the_pages(command: Command) -> None:
    from dvc.cli import parse_args

    parsed = parse_args(list(command.words[1:]))
    for change in getattr(parsed, "set_param", None) or ():
        key, _, value = change.partition("=")
        assert key.startswith("+") or value == "..." or known(key), f"no parameter {key}"
    if parsed.cmd in ("repro", "run") and hasattr(parsed, "targets"):
        stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        unknown = [one for one in parsed.targets if one not in stages and not (ROOT / one.split(":")[0]).exists()]
        assert unknown == []


def known(key: str) -> bool:
    value: Any = PARAMS
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_exist(page: Path) -> None:
    names = re.findall(r"`wildseg ([a-z]+)", page.read_text(encoding="utf-8"))
    context = click.Context(main)
    assert [name for name in names if name not in main.list_commands(context)] == []


# The site ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    answer = python("-m", "mkdocs", "build", "--strict", "--site-dir", str(folder), cwd=ROOT)
    assert answer.code == 0, answer
    return folder


class Resources(HTMLParser):
    """What a page loads by itself; links are followed by a person alone."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.found += [value for name in ("src", "srcset", "data") if (value := values.get(name))]
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon", "preconnect", "modulepreload"):
            self.found.append(values.get("href") or "")


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"truth", "benchmarks", "tiny_clip", "changelog"}
    assert pages <= {path.stem for path in site.glob("*.html")}
    for path in site.glob("*.html"):
        resources = Resources()
        resources.feed(path.read_text(encoding="utf-8"))
        assert resources.found
        assert [one for one in resources.found if one.startswith(("http:", "https:", "//"))] == [], path
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_links_out_of_docs_lead_to_pages_of_the_site(site: Path) -> None:
    assert 'href="truth.html"' in (site / "import.html").read_text(encoding="utf-8")
    assert 'href="storage.html#shards"' in (site / "benchmarks.html").read_text(encoding="utf-8")
    assert (site / "pictures" / "frame.png").is_file()
    assert (site / "examples" / "onnx_video.py").is_file()
    assert not (site / "api.py").exists()


def test_every_page_has_a_place_in_the_navigation(site: Path) -> None:
    # Those that mkdocs.yml does not name are listed under "More".
    index = (site / "index.html").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert [name for name in sorted(pages) if f'href="{name.removesuffix(".md")}.html"' not in index] == []


# What the pages say --------------------------------------------------------------------------------------------------


def complete(words: str, count: int) -> list[str]:
    program = "from wildseg.cli.main import main; main(prog_name='wildseg')"
    answer = python("-c", program, _WILDSEG_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(count))
    assert answer.code == 0, answer
    return [line.partition(",")[2] for line in answer.output.splitlines()]


def test_the_shell_completes_commands_options_and_choices() -> None:
    assert set(complete("wildseg ex", 1)) == {"explain", "export", "extract"}
    assert set(complete("wildseg predict --over", 2)) == {"--overlap", "--overlay"}
    assert complete("wildseg import cam", 2) == ["camvid"]
    page = (ROOT / "docs" / "install.md").read_text()
    assert {f"_WILDSEG_COMPLETE={shell}_source wildseg" for shell in ("bash", "zsh", "fish")} <= set(
        re.findall(r"_WILDSEG_COMPLETE=\w+_source wildseg", page)
    )


def test_the_dockerfile_installs_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "Dockerfile").read_text()
    lines = text.replace("\\\n", " ").splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert [word for word in copied if not (ROOT / word).exists()] == []
    (version,) = re.findall(r"^FROM python:3\.(\d+)", text, re.MULTILINE)
    assert project["requires-python"] == ">=3.11"
    assert int(version) >= 11
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", text)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert text.count("-c constraints.txt") == 2
    (entry,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]', text, re.MULTILINE)
    assert entry in project["scripts"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not set(ignored) & {"src", "params.yaml", "dvc.yaml", "models", "models/tiny_clip", *copied}
    page = (ROOT / "docs" / "install.md").read_text()
    assert "--build-arg TORCH_INDEX=" in page
    assert "ARG TORCH_INDEX" in text


def test_the_extras_of_the_page_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"\w+", " ".join(named))) == set(extras)
