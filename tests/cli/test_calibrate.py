"""`wildseg calibrate` on a folder with scores and a few ticked frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from wildseg.artifacts.project import Artifacts
from wildseg.cli import calibrate, main
from wildseg.core.errors import DataError
from wildseg.execution import params
from wildseg.labels.decide import decide, relative_scores

ROOT = Path(__file__).parents[2]
FRAMES = [f"drive_{index:06d}" for index in range(30)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """Thirty frames with scores, 24 of them ticked."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    artifacts, names = Artifacts(), params.load().classes.names
    rng = np.random.default_rng(0)
    truth = rng.random((30, len(names))) < 0.5
    truth[:, 0] = True
    artifacts.save_scores(FRAMES, names, np.round((rng.random(truth.shape) + 0.7 * truth) / 1.7, 6))
    rows = [
        f'{frame},"{",".join(name for name, is_in in zip(names, own, strict=True) if is_in)}"'
        for frame, own in zip(FRAMES[:24], truth, strict=False)
    ]
    artifacts.overrides_csv.write_text("\n".join(["Frame,Labels", *rows]) + "\n", encoding="utf-8")
    return artifacts


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main.main, ["calibrate", *arguments])


def snippet(output: str) -> dict:
    return yaml.safe_load(output.split("params.yaml:\n", 1)[1])["label"]


@pytest.mark.parametrize("rule", ["fixed", "relative"])
def test_the_snippet_read_back_decides_as_was_promised(
    rule: str, project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    values = params.load()
    values = replace(values, label=replace(values.label, rule=rule))
    calibrate.show(project, values)
    found = snippet(capsys.readouterr().out)
    assert found["rule"] == rule
    names = values.classes.names
    assert list(found["threshold"]) == list(names[1:])  # the first is in all ticked frames
    scores = np.stack(list(project.load_scores(names).values()))[:24]
    truth = np.stack(list(project.load_labels(names, project.overrides_csv).values()))
    present = decide(scores, names, 0.5, found["threshold"], relative=rule == "relative")
    belief = relative_scores(scores) if rule == "relative" else scores
    for index in range(1, len(names)):
        own, ticked = belief[:, index], truth[:, index]
        best = max(_f1(own > cut, ticked) for cut in np.arange(0, 1, 0.0005))
        assert _f1(present[:, index], ticked) >= best - 1e-9


def test_relative_thresholds_of_tiles_are_refused_in_one_line(project: Artifacts) -> None:
    values = params.load()
    tiled = replace(values, label=replace(values.label, rule="relative", grid=(2, 3)))
    with pytest.raises(DataError, match=r"label\.grid: .* between the lowest and highest score of a tile.*\[2, 3\]"):
        calibrate.show(project, tiled)
    calibrate.show(project, replace(tiled, label=replace(tiled.label, rule="fixed")))


def _f1(named: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (named & truth).sum() / (named.sum() + truth.sum())


def test_it_says_how_sure_each_class_is(project: Artifacts) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("calibrate: 24 frames of data/labels/overrides.csv, for the best F1")
    rows = {line.split()[0]: line for line in lines[2:12]}
    assert rows["sky"].split(None, 3) == [
        "sky",
        "24",
        "0",
        "-                      -                      -                      too few frames without it (3 are needed)",
    ]
    assert rows["tree"].count("..") == 3
    assert "\nleft out: sky; these keep the method's own threshold; where label.rule fixed has none," in result.output
    assert project.overrides_csv.is_file()


def test_a_wanted_precision_and_another_table_can_be_given(project: Artifacts) -> None:
    project.overrides_csv.rename("mine.csv")
    plain, strict = run("mine.csv"), run("mine.csv", "--precision", "1.0")
    assert strict.output.startswith("calibrate: 24 frames of mine.csv, for a precision of 1;")
    looser, tighter = (snippet(result.output)["threshold"] for result in (plain, strict))
    assert sum(tighter.values()) > sum(looser.values())
    for wrong in ("0", "1.01", "nan", "much"):
        result = run("mine.csv", "--precision", wrong)
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].startswith("Error: Invalid value for '--precision': ")


def test_a_few_frames_are_said_to_prove_little(project: Artifacts) -> None:
    names = params.load().classes.names
    project.save_scores(FRAMES[:8], names, np.linspace(0.9, 0.2, 8)[:, None] * np.ones(len(names)))
    tick(project, *["tree"] * 4, *["sky"] * 3, "")
    result = run()
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].endswith("for the best F1; in brackets 95 % intervals")
    tree = next(line for line in result.output.splitlines() if line.startswith("tree "))
    assert tree.endswith("1.000 (0.398..1.000)   1.000 (0.398..1.000)")  # all of four: .025 ** (1 / 4)
    assert list(snippet(result.output)["threshold"]) == ["sky", "tree"]
    sky = next(line for line in result.output.splitlines() if line.startswith("sky "))
    assert "  0.250 " in sky
    assert "left out: cement_road, lane_line, curb" in result.output


def tick(project: Artifacts, *labels: str) -> None:
    """Tick as many frames as there are texts."""
    rows = [f'{frame},"{own}"\n' for frame, own in zip(FRAMES, labels, strict=False)]
    project.overrides_csv.write_text("".join(["Frame,Labels\n", *rows]))


NOTHING = "expected for some class 3 ticked frames with it and 3 without it, and scores that differ; found "


@pytest.mark.parametrize(
    ("ticked", "line"),
    [
        (["tree,lawn"], NOTHING + "1 frame; tick frames of other places"),
        ([""], NOTHING + "1 frame; tick"),
        (["tree,lawn"] * 2, NOTHING + "2 frames, which are all ticked alike; tick frames of other places, some 20"),
        (["tree,lawn"] * 12, NOTHING + "12 frames, which are all ticked alike; "),
        ([""] * 12, NOTHING + "12 frames, which are all ticked alike; "),
        (["tree", "lawn"], NOTHING + "2 frames, of which 1 show tree and 1 do not, and other classes are further"),
        (["tree"] * 7 + ["sky,tree"] * 2, NOTHING + "9 frames, of which 2 show sky and 7 do not, "),
    ],
)
@pytest.mark.parametrize("rule", ["fixed", "relative"])
def test_no_threshold_is_printed_where_there_is_nothing_to_fit(
    rule: str, ticked: list[str], line: str, project: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    tick(project, *ticked)
    values = params.load()
    with pytest.raises(DataError) as caught:
        calibrate.show(project, replace(values, label=replace(values.label, rule=rule)))
    assert line in str(caught.value)
    assert str(caught.value).endswith("some 20 in all, or leave label.threshold at auto")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_class_of_the_same_score_everywhere_gets_no_threshold(project: Artifacts) -> None:
    names, scores = params.load().classes.names, project.load_scores(params.load().classes.names)
    flat = np.stack(list(scores.values()))
    flat[:, 1] = 0.62
    project.save_scores(FRAMES, names, flat)
    result = run()
    assert result.exit_code == 0, result.output
    assert "the same score in all frames" in result.output
    assert list(snippet(result.output)["threshold"]) == list(names[2:])
    project.save_scores(FRAMES, names, np.full_like(flat, 0.62))
    result = run()
    assert result.exit_code == 1
    assert "24 frames, whose scores separate no class (" in result.stderr
    assert result.stdout == ""


def test_ticked_frames_in_quarantine_are_left_out(project: Artifacts) -> None:
    names, scores = params.load().classes.names, project.load_scores(params.load().classes.names)
    left = [frame for frame in FRAMES if frame != FRAMES[3]]
    plain = run()
    project.save_scores(left, names, np.stack([scores[frame] for frame in left]))
    assert f"scores.csv, found '{FRAMES[3]}'" in run().stderr
    project.save_quarantine("label", [(FRAMES[3], "unreadable")])
    result = run()
    assert result.exit_code == 0, result.output
    assert result.output.startswith("calibrate: 23 frames of data/labels/overrides.csv (1 in quarantine left out), for")
    assert snippet(result.output) != snippet(plain.output)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("Frame,Labels\n", "expected a few frames with their classes, found none"),
        ("Frame,Labels\ndrive_00001,tree\n", r"scores.csv, found 'drive_00001'; did you mean 'drive_0000"),
    ],
)
def test_frames_that_are_of_no_use_are_told(table: str, line: str, project: Artifacts) -> None:
    project.overrides_csv.write_text(table)
    with pytest.raises(DataError, match=line):
        calibrate.show(project, params.load())


def test_without_ticked_frames_or_scores_it_says_what_is_missing(project: Artifacts) -> None:
    project.overrides_csv.unlink()
    assert "overrides.csv: expected a CSV file" in run().stderr
    project.scores_csv.unlink()
    assert "scores.csv" in run().stderr
