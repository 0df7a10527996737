"""`wildseg diff` on a project of git and DVC with several results, against plain confusion matrices."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from dvc.repo import Repo

from tests.browser import CHROMIUM, browser
from tests.cli.diff import results
from tests.cli.diff.results import FRAMES, frame_name, git, truth_and_answers
from wildseg.artifacts.project import Artifacts
from wildseg.cli.diff.parameters import changed
from wildseg.cli.diff.revision import Revision
from wildseg.cli.main import main
from wildseg.execution import defaults
from wildseg.metrics.confusion import confusion_matrix, miou

HOSTILE = "<img src=x onerror='hacked = 1'></title><script>hacked = 2</script>"
POOR, GOOD = 0.5, 0.7


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commits with the tags poor, good, shorter, untrue, elsewhere, classes and old; and the experiment `tried`."""
    root = tmp_path_factory.mktemp("a project #1")
    results.begin(root)
    results.write(root, POOR, method="gradcam")
    results.commit(root, HOSTILE, "poor")
    results.write(root, GOOD, method="hirescam", boxes=HOSTILE)
    results.commit(root, "Better", "good")
    for tag, changes in {
        "untrue": {"truth": False},
        "untrue_too": {"truth": False, "method": "hirescam"},
        "elsewhere": {"prefix": "other"},
        "classes": {"names": ("lawn", "water", "sky")},
        "order": {"names": results.NAMES[::-1]},
        "old": {"counts": False},
    }.items():
        git(root, "checkout", "--quiet", "poor")
        results.write(root, POOR, **{"method": "gradcam", **changes})
        results.commit(root, tag, tag)
    git(root, "checkout", "--quiet", "main")
    results.write(root, 0.6, method="layercam")
    with chdir(root), Repo() as repo:
        repo.commit("eval", force=True)
        repo.experiments.save(name="tried")
    git(root, "reset", "--hard", "--quiet")
    with chdir(root), Repo() as repo:
        repo.checkout(force=True)
    return root


def diff(root: Path, *arguments: str, code: int = 0) -> str:
    with chdir(root):
        answer = CliRunner().invoke(main, ["diff", *arguments])
    assert answer.exit_code == code, answer.output
    return answer.output


def refused(root: Path, *arguments: str) -> str:
    lines = diff(root, *arguments, code=1).strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def row(output: str, name: str) -> list[str]:
    (line,) = (line for line in output.splitlines() if line.startswith(f"{name}  "))
    return line.removeprefix(name).split()


def by_hand(skill: float, frames: list[int], part: int) -> float:
    pairs = (truth_and_answers(index, skill) for index in frames)
    return miou(sum(confusion_matrix(one[0], one[part], 4) for one in pairs))


def contents(root: Path) -> dict[str, bytes]:
    inside = (path for path in root.rglob("*") if path.is_file() and not {".dvc", ".git", "diff"} & set(path.parts))
    return {str(path): path.read_bytes() for path in inside}


def test_two_commits_differ_by_what_their_confusion_matrices_say(project: Path) -> None:
    before, status = contents(project), git(project, "status", "--porcelain")
    output = diff(project, "poor", "good")
    seen, held_out = list(range(FRAMES)), list(range(FRAMES, FRAMES + FRAMES // 2))
    tested = [index for index in seen if index % 4]
    for name, frames in (("seen sources", tested), ("held-out sources", held_out)):
        first, second = (by_hand(skill, frames, 2) for skill in (POOR, GOOD))
        found = row(output, f"model mIoU, {name}")
        assert found[:2] == [f"{first:.3f}", f"{second:.3f}"]
        assert found[2] == f"{100 * (second - first):+.1f}"
    strict = row(output, "pseudo masks mIoU, open pixels wrong, seen sources")
    assert strict[:2] == [f"{by_hand(skill, seen, 1):.3f}" for skill in (POOR, GOOD)]
    known = row(output, "pseudo masks mIoU, seen sources")
    assert float(known[1]) > float(strict[1])
    low, high = (float(value) for value in row(output, "model mIoU, seen sources")[3:6:2])
    change = float(row(output, "model mIoU, seen sources")[2])
    assert 0 < low < change < high
    assert f"model mIoU, seen sources: better by {change:.1f} points, 95 % interval {low:.1f} to {high:.1f}" in output
    assert row(output, "coverage")[:3] == ["0.905", "0.907", "+0.2"]
    assert "cam.method: gradcam -> hirescam" in output
    # Nothing of the workspace was touched.
    assert contents(project) == before
    assert git(project, "status", "--porcelain") == status


def test_the_other_way_round_it_is_worse(project: Path) -> None:
    assert re.search(r"model mIoU, seen sources: worse by \d+\.\d points, 95 % interval", diff(project, "good", "poor"))


def test_a_commit_differs_from_itself_by_exactly_nothing(project: Path) -> None:
    output = diff(project, "good", "good")
    rows = [line for line in output.splitlines() if "sources  " in line]
    assert len(rows) == 12
    assert all(re.search(r"  0\.0  +0\.0 to 0\.0  same$", line) for line in rows)
    assert "model mIoU, seen sources: the same" in output
    assert "parameters: all the same" in output
    assert "pseudo masks agree on 100.0% of pixels, predictions on 100.0%; 24 frames are the same" in output


def test_the_frames_that_changed_most_come_first(project: Path) -> None:
    output = diff(project, "poor", "good")
    shares = {}
    for index in range(FRAMES + FRAMES // 2):
        both = [truth_and_answers(index, skill) for skill in (POOR, GOOD)]
        shares[frame_name(index)] = [float((both[0][part] != both[1][part]).mean()) for part in (1, 2)]
    most = sorted(shares, key=lambda name: (-sum(shares[name]), name))[:5]
    lines = [line for line in output.splitlines() if "of pixels changed" in line]
    assert lines == [
        f"  {name}: pseudo mask {shares[name][0]:.1%}, model {shares[name][1]:.1%} of pixels changed" for name in most
    ]


def test_an_experiment_and_a_branch_are_found_by_name_and_b_is_the_workspace(project: Path) -> None:
    output = diff(project, "tried")
    assert "B: workspace" in output
    assert float(row(output, "model mIoU, seen sources")[0]) == pytest.approx(by_hand(0.6, [1, 2, 3], 2), abs=0.05)
    assert (
        row(output, "model mIoU, seen sources")[1] == row(diff(project, "poor", "main"), "model mIoU, seen sources")[1]
    )
    assert "cam.method: layercam -> hirescam" in output


def test_a_parameter_that_neither_has_written_has_its_default_and_differs_not(project: Path) -> None:
    lines = diff(project, "poor", "tried").splitlines()
    assert lines[lines.index("parameters:") + 1 :][:2] == ["  cam.method: gradcam -> layercam", ""]


def test_what_one_has_written_is_compared_with_the_default_of_the_other(tmp_path: Path) -> None:
    written = {"classes": {"lawn": ["a"]}, "background": [], "extract": {"source": "data/raw"}}
    sides = []
    for name, cam in (("a", {"method": "gradcam"}), ("b", {"method": "gradcam", "scales": [1.0, 2.0]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.yaml").write_text(yaml.safe_dump({**written, "cam": cam}))
        sides.append(Revision(name, Artifacts(tmp_path / name)))
    default = str(list(defaults.value_of(("cam", "scales"), {})))
    assert changed(*sides) == [("cam.scales", default, "[1.0, 2.0]")]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("gud",), r"'gud': expected a commit, branch, tag or experiment, found none; did you mean 'good'\?"),
        (("poor", "classes"), r"same classes in poor and classes: only poor has <b>road</b>; only classes has water"),
        (("poor", "order"), r"they are in another order"),
        (("poor", "elsewhere"), r"expected a frame that poor and elsewhere both have, found none"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line(project: Path, arguments: tuple[str, ...], line: str) -> None:
    assert re.search(line, refused(project, *arguments))


def test_without_truth_only_the_agreement_of_masks_is_known(project: Path) -> None:
    output = diff(project, "untrue", "untrue_too")
    assert "no frame has a truth in both" in output
    assert "pseudo masks agree on 100.0% of pixels" in output
    assert "model mIoU" not in output
    assert row(output, "coverage")[:3] == ["0.905", "0.905", "0.0"]


def test_a_run_without_counts_has_differences_without_intervals(project: Path) -> None:
    output = diff(project, "old", "good")
    assert "no counts of frames" in output
    assert row(output, "miou") == ["0.500", "0.700", "+20.0"]


def test_outputs_that_are_in_no_cache_are_one_line(project: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(project, "clone", "--quiet", str(project), str(clone))
    line = refused(clone, "poor", "good")
    assert re.search(r"metrics/eval/counts\.csv of poor is recorded, but not in DVC's cache .*'dvc fetch", line)


def test_outside_of_a_project_it_is_one_line(tmp_path: Path) -> None:
    assert "expected a project in git and DVC" in refused(tmp_path, "main")


def test_a_folder_with_other_files_is_left_alone(project: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "it holds others" in refused(project, "poor", "good", "--into", str(tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def page(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    folder = tmp_path_factory.mktemp("page") / "di ff #1"
    shutil.rmtree(folder, ignore_errors=True)
    diff(project, "poor", "good", "--into", str(folder), "--frames", "6")
    with browser() as one:
        one.open(folder / "index.html")
        yield one, folder
        assert one.errors == []
        assert [url for url in one.requests if not url.startswith(folder.as_uri())] == []
        assert one.run("typeof hacked") == "undefined"


def test_the_page_works_offline_and_shows_what_was_typed_as_text(page: tuple) -> None:
    browsed, _ = page
    text = browsed.run("document.body.textContent")
    assert HOSTILE in text
    assert "<b>road</b>" in text
    assert "better by" in text
    names = "[...document.querySelectorAll('.frame h4')].map((one) => one.textContent)"
    assert len(browsed.run(names)) == 6
    browsed.run("document.querySelector('.frame').scrollIntoView()")
    browsed.wait("[...document.querySelector('.frame').querySelectorAll('img')].every((one) => one.naturalWidth > 0)")
    assert browsed.run("document.querySelectorAll('.frame')[0].querySelectorAll('img').length") == 7
    assert browsed.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_frames_of_the_page_are_sorted_and_gone_through_by_keys(page: tuple) -> None:
    browsed, _ = page
    browsed.choose("#sort", "iou 1")
    values = browsed.run("[...document.querySelectorAll('.frame')].map((one) => Number(one.dataset.iou))")
    assert values == sorted(values)
    assert np.ptp(values) > 0
    browsed.press("ArrowDown", "ArrowDown")
    assert browsed.run("[...document.querySelectorAll('.frame')].indexOf(document.activeElement)") == 1
    theme = browsed.run("document.documentElement.dataset.theme")
    browsed.run("document.getElementById('theme').click()")
    assert browsed.run("document.documentElement.dataset.theme") != theme


def test_frames_without_a_value_come_last_whichever_comes_first(page: tuple) -> None:
    browsed, _ = page
    browsed.run("[0, 3].forEach((at) => { document.querySelectorAll('.frame')[at].dataset.iou = ''; })")
    for order, sign in (("iou -1", -1), ("iou 1", 1)):  # most improved, and most worsened
        browsed.choose("#sort", order)
        texts = browsed.run("[...document.querySelectorAll('.frame')].map((one) => one.dataset.iou)")
        assert texts[4:] == ["", ""]
        values = [sign * float(text) for text in texts[:4]]
        assert values == sorted(values)
        assert np.ptp(values) > 0
