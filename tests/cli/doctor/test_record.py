"""Stages that differ from dvc.lock: what is cheap to compare finds what DVC itself finds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.repo import Repo

from wildseg.cli.doctor import record, run

PIPELINE = """
stages:
  first:
    cmd: mkdir data/out && cp data/raw/a.txt data/out/a.txt && cp data/raw/a.txt data/out/b.txt
    deps: [data/raw, "${source}"]
    params: [first]
    outs: [data/out]
  second:
    cmd: cp data/out/a.txt data/end.txt
    deps: [data/out]
    params: [second]
    outs: [data/end.txt]
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of DVC whose two stages have run."""
    root = tmp_path_factory.mktemp("computed")
    (root / "data/raw").mkdir(parents=True)
    (root / "data/raw/a.txt").write_text("content\n")
    (root / "source.csv").write_text("a,b\n")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text("source: source.csv\nfirst: {x: 1, y: {z: 2}}\nsecond: 3\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    with chdir(root):
        Repo.init(".").close()
        with Repo(".") as repo:
            repo.reproduce()
    return root


@pytest.fixture
def project(computed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(computed, tmp_path / "project")


def params(root: Path, old: str, new: str) -> None:
    path = root / "params.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


CHANGES: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "nothing": (lambda _: None, None),
    "a comment": (lambda root: params(root, "second: 3", "second: 3  # three"), None),
    "a parameter": (lambda root: params(root, "second: 3", "second: 4"), "second in params.yaml changed"),
    "an inner parameter": (lambda root: params(root, "z: 2", "z: 5"), "first.y.z in params.yaml changed"),
    "a file of the same size": (lambda root: (root / "source.csv").write_text("b,a\n"), "source.csv changed"),
    "a new file": (lambda root: (root / "data/raw/b.txt").write_text("x"), "data/raw changed"),
    "another input": (
        lambda root: (params(root, "source.csv", "s.csv"), (root / "s.csv").write_text("a,b\n")),
        "it now depends on s.csv",
    ),
    "no output": (lambda root: (root / "data/end.txt").unlink(), "there is no data/end.txt"),
    "a command": (
        lambda root: (root / "dvc.yaml").write_text(PIPELINE.replace("cp data/out/a.txt", "cp -p data/out/a.txt")),
        "its command changed",
    ),
    "no dvc.lock": (lambda root: (root / "dvc.lock").unlink(), "there is no dvc.lock"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_it_finds_what_dvc_status_finds(what: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    change, reason = CHANGES[what]
    change(project)
    found = list(record.check(Path()))
    with Repo(str(project)) as repo:
        by_dvc = repo.status()
    assert bool(by_dvc) == (reason is not None)
    if reason is None:
        assert [one.level for one in found] == ["ok"]
        return
    assert reason in "; ".join(one.text for one in found)
    named = {one.text.split()[1].rstrip(":") for one in found if one.text.startswith("stage ")}
    assert named <= set(by_dvc)


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("schema: '2.0'\nstages:\n  first:\n    cm", "incomplete", "wildseg repair"),
        ("<<<<<<< HEAD\nschema: '2.0'\n=======\n>>>>>>> other\n", "both sides of a merge", "git checkout --ours"),
    ],
)
def test_a_torn_dvc_lock_prevents_a_run(text: str, what: str, remedy: str, project: Path) -> None:
    (project / "dvc.lock").write_text(text)
    (found,) = record.check(project)
    assert found.level == "stop"
    assert what in found.text
    assert remedy in found.remedy


def test_dvc_itself_can_be_asked_and_finds_a_folder_whose_size_stayed(project: Path) -> None:
    assert [one.level for one in run._status(project)] == ["ok"]
    (project / "data/raw/a.txt").write_text("CONTENT\n")  # as many files and bytes as before
    assert [one.level for one in record.check(project)] == ["ok"]
    assert [one.text for one in run._status(project)] == ["dvc status: first differs from dvc.lock"]
