"""What git and DVC know of a project: commits, and the user's files that a queued experiment would not see."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wildseg.cli.doctor import data, project
from wildseg.cli.doctor import git as own_git
from wildseg.core.errors import WildsegError

PIPELINE = "stages:\n  label:\n    cmd: x\n    outs: [data/labels/labels.csv]\n    metrics: [m.json: {cache: false}]\n"


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a video that DVC tracks, a table that git tracks, and an output of a stage."""
    for folder in ("data/raw", "data/truth", "data/labels", ".dvc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / "data/raw/mine.mp4").write_bytes(b"video")
    (tmp_path / "data/raw/mine.mp4.dvc").write_text("outs:\n- md5: 1\n  path: mine.mp4\n")
    (tmp_path / "data/raw/.gitignore").write_text("/mine.mp4\n")
    (tmp_path / "data/labels/overrides.csv").write_text("Frame,Labels\n")
    (tmp_path / "data/labels/labels.csv").write_text("Frame,Labels\n")
    (tmp_path / "data/labels/.gitignore").write_text("/labels.csv\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "all of it")
    return tmp_path


def levels(findings: object) -> list[str]:
    return [one.level for one in findings]  # type: ignore[attr-defined]


def test_all_is_known(root: Path) -> None:
    assert levels(data.check(root, "data/raw/mine.mp4")) == ["ok"]
    (found,) = project.check(root)
    assert found.level == "ok"
    assert "all of it" in found.text


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("data/raw/other.mp4", "data/raw/other.mp4"),
        ("data/truth/mine/a b.png", "data/truth/mine"),
        ("data/labels/né#1.csv", "data/labels/né#1.csv"),
    ],
)
@pytest.mark.parametrize("ignored", [False, True])
def test_a_file_that_neither_knows_is_named(path: str, place: str, ignored: bool, root: Path) -> None:
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text("x")
    if ignored:
        (root / ".git/info").mkdir(exist_ok=True)
        (root / ".git/info/exclude").write_text("other.mp4\n*.png\nn*.csv\n")
    (found,) = data.check(root, "data/raw/mine.mp4")
    assert found.level == "note"
    assert f"1 file of {place}:" in found.text
    assert found.remedy == f"{'git' if path.endswith('.csv') else 'dvc'} add {place}; then commit"
    git(root, "add", "-f", path)
    assert levels(data.check(root, "data/raw/mine.mp4")) == ["ok"]


def test_a_source_that_is_nowhere_prevents_a_run_unless_dvc_can_bring_it(root: Path) -> None:
    assert levels(data.check(root, "data/raw/no.mp4")) == ["stop", "ok"]
    (root / "data/raw/mine.mp4").unlink()
    assert levels(data.check(root, "data/raw/mine.mp4")) == ["note", "ok"]


def test_a_source_outside_of_the_project_is_in_no_commit(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert levels(data.check(root, str(tmp_path_factory.mktemp("outside")))) == ["note", "ok"]


def test_the_rendered_world_is_an_output_although_its_stage_has_a_working_folder() -> None:
    here = Path(__file__).parents[3]
    assert here / "data/raw/field" in data.outputs_of(here)


def test_what_the_last_commit_lacks(root: Path) -> None:
    (root / "dvc.lock").write_text("schema: '2.0'\n")
    (root / "params.yaml").write_text("a: 2\n")
    _, unknown, edited = project.check(root)
    assert "git does not know dvc.lock" in unknown.text
    assert unknown.remedy == "git add dvc.lock && git commit"
    assert edited.text == "params.yaml differs from the last commit"


def test_a_folder_without_git_and_dvc(tmp_path: Path) -> None:
    assert [one.remedy for one in project.check(tmp_path)] == ["git init", "dvc init"]


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".dvc").mkdir()
    (found,) = project.check(tmp_path)
    assert found.remedy == "git add . && git commit"


@pytest.mark.parametrize("name", ["$(touch trap)", "; touch trap", "`touch trap`", "-- touch", "a\nb"])
def test_git_is_given_words_and_not_a_line_for_a_shell(name: str, root: Path) -> None:
    place = root / "data/truth" / name
    place.mkdir(parents=True)
    (place / "a.png").write_text("")
    data.check(root, f"data/raw/{name}")
    assert any(one.level == "note" for one in data.check(root, "data/raw/mine.mp4"))
    assert not list(root.rglob("trap"))
    own_git.run("init", "--quiet", "--", str(root / name))
    assert (root / name / ".git").is_dir()
    with pytest.raises(WildsegError, match="git clone: "):
        own_git.run("clone", "--quiet", "--", str(root / "nowhere"), str(root / "there"))
