"""`wildseg classes`: all files of a project after a change, after a kill at any moment, and after a refusal."""

from __future__ import annotations

import csv
import json
import subprocess
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from dvc.repo import Repo

from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.tiles import Ticks
from wildseg.cli.classes import recording, staging
from wildseg.cli.main import main
from wildseg.core.files import save_json
from wildseg.execution import params

ROOT = Path(__file__).parents[3]
OLD = ("lawn", "road", "sky")
PARAMS = """\
classes:
  lawn: [lawn, grass]  # mown or not
  road: road
  sky: sky
# what is none of these
background: []
colours: {road: "#336699"}
label: {threshold: {lawn: 0.4, sky: 0.6}, language: {definitions: {road: hard ground}}}
extract: {source: data/raw}
"""
PIPELINE = """
stages:
  label: {cmd: "false", params: [classes], metrics: [metrics/label.json: {cache: false}],
          outs: [data/labels/labels.csv, data/labels/scores.csv, data/labels/priors.csv,
                 data/labels/prompts.json]}
  cam: {cmd: "false", deps: [data/labels/labels.csv], params: [classes], outs: [data/cams]}
  crf: {cmd: "false", deps: [data/cams], params: [classes], outs: [data/masks],
        metrics: [metrics/crf.json: {cache: false}]}
  train: {cmd: "false", deps: [data/masks], params: [classes], outs: [models/segmenter]}
  eval: {cmd: "echo {} > e.json", deps: [data/masks, models/segmenter], params: [classes],
         metrics: [e.json: {cache: false}]}
"""


@pytest.fixture
def here(tmp_path: Path) -> Artifacts:
    """A project after a run of all stages, with tables of a person."""
    artifacts = tiny_run.make(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "data/labels/overrides.csv").write_text("Frame,Labels,who\ndrive_000000,road,a\nother_000000,,b\n")
    (tmp_path / "data/labels/given.csv").write_text("Frame;lawn;Road;sky\ndrive_000000;x;;x\ndrive_000010;;1;\n")
    save_json(artifacts.metrics_path("label.json"), {"frames": 4, "classes_per_frame": 1.0, "language": None})
    share = {"background": 0.0, "lawn": 20 / 64, "road": 0.0, "sky": 24 / 64}
    save_json(
        artifacts.metrics_path("crf.json"),
        {"frames": 4, "frames_without_class": 1, "coverage": 44 / 64, "share": share},
    )
    return artifacts


def run(root: Path, *arguments: str) -> str:
    with chdir(root):
        answer = CliRunner().invoke(main, ["classes", *arguments])
    assert answer.exit_code == 0, answer.output
    return answer.output


def refused(root: Path, *arguments: str) -> str:
    before = contents(root)
    with chdir(root):
        answer = CliRunner().invoke(main, ["classes", *arguments])
    assert answer.exit_code == 1
    assert contents(root) == before
    return " ".join(answer.output.split())


def contents(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and not {".dvc", ".git"} & set(path.parts))
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.name not in ("lock", "rwlock")}


def names_of(root: Path) -> tuple[str, ...]:
    return params.load(root / "params.yaml").classes.names


def test_a_renamed_class_keeps_all_its_numbers(here: Artifacts) -> None:
    before = contents(here.root)
    output = run(here.root, "rename", "road", "street")
    after, new = contents(here.root), ("lawn", "street", "sky")
    assert names_of(here.root) == new
    text = (here.root / "params.yaml").read_text()
    assert "# mown or not" in text
    assert "# what is none of these" in text
    assert yaml.safe_load(text)["label"]["language"]["definitions"] == {"street": "hard ground"}
    assert yaml.safe_load(text)["colours"] == {"street": "#336699"}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {
        "params.yaml", "data/labels/labels.csv", "data/labels/tiles.csv", "data/labels/scores.csv",
        "data/labels/priors.csv", "data/labels/overrides.csv", "data/labels/given.csv", "models/segmenter/config.json",
        "metrics/crf.json",
    }  # fmt: skip
    assert set(after) == set(before)  # and nothing temporary is left
    word = {
        "data/labels/labels.csv",
        "data/labels/tiles.csv",
        "data/labels/scores.csv",
        "data/labels/priors.csv",
        "models/segmenter/config.json",
        "metrics/crf.json",
    }
    for name in word:  # what the stages would write
        assert after[name] == before[name].replace(b"road", b"street"), name
    assert (here.root / "data/labels/overrides.csv").read_text().splitlines()[1:] == [
        "drive_000000,street,a",
        "other_000000,,b",
    ]
    given = here.load_labels(new, here.root / "data/labels/given.csv")
    assert {frame: row.tolist() for frame, row in given.items()} == {
        "drive_000000": [True, False, True],
        "drive_000010": [False, True, False],
    }
    assert "'dvc repro' measures again under the new name (eval)" in output


def test_labels_of_tiles_and_ticks_change_with_the_classes(here: Artifacts) -> None:
    labels = here.load_labels(OLD)
    tiles = np.zeros((4, 1, 2, 3), bool)
    tiles[:, 0, 0], tiles[:, 0, 1, 1] = list(labels.values()), [own[1] for own in labels.values()]
    here.save_labels([*labels], OLD, np.stack([*labels.values()]), tiles)
    ticks = np.array([[[True, True, False], [False, True, False]]])
    here.save_ticks(OLD, {"drive_000000": Ticks(ticks, np.ones((1, 2), bool))})
    run(here.root, "merge", "ground", "lawn", "road")
    new = ("ground", "sky")
    after = here.load_tiles(new, here.load_labels(new))
    for own, before in zip(after.values(), tiles, strict=True):
        np.testing.assert_array_equal(own, np.stack([before[..., :2].any(-1), before[..., 2]], -1))
    assert here.load_ticks(new, (1, 2))["drive_000000"].labels.tolist() == [[[True, False], [True, False]]]


def test_merged_classes_are_one_in_labels_maps_and_masks(here: Artifacts) -> None:
    old = {name: here.load_maps(name) for name in here.load_labels(OLD)}
    masks = {name: here.load_mask(name) for name in old}
    labels, scores = here.load_labels(OLD), here.load_scores(OLD)
    output = run(here.root, "merge", "ground", "lawn", "road")
    new = ("ground", "sky")
    assert names_of(here.root) == new
    assert yaml.safe_load((here.root / "params.yaml").read_text())["label"] == {
        "threshold": {"ground": 0.4, "sky": 0.6}, "language": {"definitions": {"ground": "hard ground"}},
    }  # fmt: skip
    for name in old:
        assert here.load_labels(new)[name].tolist() == [bool(labels[name][:2].any()), bool(labels[name][2])]
        assert here.load_scores(new)[name].tolist() == [scores[name][:2].max(), scores[name][2]]
        by_hand = {1: 1, 2: 1, 3: 2, 255: 255}
        assert here.load_mask(name).tolist() == [[by_hand[value] for value in row] for row in masks[name].tolist()]
        classes, maps = old[name]
        expected = {}
        for index, own in zip(classes.tolist(), maps, strict=True):
            expected[int(index == 2)] = np.maximum(expected.get(int(index == 2), 0), own)
        found = dict(zip(here.load_maps(name)[0].tolist(), here.load_maps(name)[1], strict=True))
        assert found.keys() == expected.keys()
        assert all((found[index] == expected[index]).all() for index in found)
    report = json.loads((here.root / "metrics/crf.json").read_text())
    pixels = np.concatenate([here.load_mask(name).ravel() for name in old])
    assert report["share"] == {
        name: pytest.approx((pixels == value).mean()) for value, name in enumerate(("background", *new))
    }
    assert report["frames_without_class"] == 1
    assert json.loads((here.root / "metrics/label.json").read_text())["classes_per_frame"] == pytest.approx(
        np.mean([row.sum() for row in here.load_labels(new).values()])
    )
    assert "trains again" in output


def test_truth_keeps_its_masks_and_gets_a_map(here: Artifacts) -> None:
    frames = here.load_frames()
    before = {frame.name: here.load_truth(frame, OLD, (4, 4)) for frame in frames}
    bytes_before = {path.name: path.read_bytes() for path in (here.root / "data/truth").glob("*.png")}
    run(here.root, "merge", "ground", "lawn", "road")
    assert {path.name: path.read_bytes() for path in (here.root / "data/truth").glob("*.png")} == bytes_before
    by_hand = np.array([0, 1, 1, 2] + [255] * 252, np.uint8)
    for frame in frames:
        after = here.load_truth(frame, ("ground", "sky"), (4, 4))
        assert (after is None) == (before[frame.name] is None)
        assert after is None or (after == by_hand[before[frame.name]]).all()
    run(here.root, "reorder", "sky")  # a second change translates the map of the first
    for frame in frames:
        after = here.load_truth(frame, ("sky", "ground"), (4, 4))
        assert after is None or (after == np.array([0, 2, 2, 1] + [255] * 252)[before[frame.name]]).all()


def test_a_map_in_another_form_is_written_with_the_new_names(here: Artifacts) -> None:
    (here.root / "data/truth/classes.csv").write_text("id,name\n1,sky\n2,road\n3,void\n")
    run(here.root, "rename", "road", "street")
    assert not (here.root / "data/truth/classes.csv").exists()
    assert json.loads((here.root / "data/truth/classes.json").read_text())["2"] == "street"
    before = (here.root / "data/truth/classes.json").read_bytes()
    run(here.root, "rename", "lawn", "meadow")  # which it does not name
    assert (here.root / "data/truth/classes.json").read_bytes() == before


def test_the_pixels_of_a_split_class_are_ignored_and_its_labels_refused(here: Artifacts) -> None:
    line = refused(here.root, "split", "road", "tar=tar, asphalt", "gravel_path")
    assert "overrides.csv: 1 frames, the first is 'drive_000000', have the class 'road'" in line
    for name in ("overrides.csv", "given.csv"):
        (here.root / "data/labels" / name).write_text("Frame,Labels\ndrive_000000,lawn\n")
    frames = here.load_frames()
    before = {frame.name: here.load_truth(frame, OLD, (4, 4)) for frame in frames}
    labels = here.labels_csv.read_bytes()
    run(here.root, "split", "road", "tar=tar, asphalt", "gravel_path")
    found = params.load(here.root / "params.yaml").classes
    assert found.names == ("lawn", "tar", "gravel_path", "sky")
    assert found.phrases == (("lawn", "grass"), ("tar", "asphalt"), ("gravel path",), ("sky",))
    for frame in frames:
        after = here.load_truth(frame, found.names, (4, 4))
        assert after is None or (after == np.array([0, 1, 255, 4] + [255] * 252)[before[frame.name]]).all()
    assert here.labels_csv.read_bytes() == labels  # `label` runs again


def test_packed_files_are_packed_again(here: Artifacts) -> None:
    names = [frame.name for frame in here.load_frames()]
    before = {name: here.load_mask(name) for name in names}
    for name in names:
        here.save_confidence(name, np.ones((4, 4)))
    here.pack_maps(names)
    here.pack_masks(names)
    run(here.root, "reorder", "sky", "road")
    again = Artifacts(here.root)
    assert not list(here.cams_folder.glob("*.npz"))
    for name in names:
        assert (again.load_mask(name) == np.array([0, 3, 2, 1] + [255] * 252)[before[name]]).all()


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("data/labels/labels.csv", "Frame,Labels\ndrive_000000,mud\n", "found 'mud'"),
        ("data/labels/overrides.csv", "Frame,Labels\ndrive_000000,mud\n", "found 'mud'"),
        ("data/truth/classes.json", '{"1": "mud"}', "found 'mud'"),
        ("data/cams/drive_000000.npz", "x", "run 'dvc repro cam'"),
        ("data/masks/drive_000000.png", "x", "run 'dvc repro crf'"),
        ("params.yaml", PARAMS + "crf: {nothing: 1}\n", "nothing"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_nothing_changes(
    file: str, content: str, line: str, here: Artifacts
) -> None:
    (here.root / file).write_text(content)
    assert line in refused(here.root, "merge", "ground", "lawn", "road")


def test_what_shall_only_be_shown_changes_nothing(here: Artifacts) -> None:
    before = contents(here.root)
    assert "nothing was written" in run(here.root, "merge", "ground", "lawn", "road", "--dry-run")
    assert contents(here.root) == before


class Killed(BaseException):
    """A kill: no handler of the command runs after it."""


@pytest.mark.parametrize("after", [0, 1, 4, 8])
def test_a_change_that_was_killed_while_files_moved_is_finished_by_the_next(
    after: int, here: Artifacts, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny_run.make(tmp_path_factory.mktemp("whole"))
    for name in (
        "params.yaml",
        "data/labels/overrides.csv",
        "data/labels/given.csv",
        "metrics/label.json",
        "metrics/crf.json",
    ):
        (whole.root / name).parent.mkdir(parents=True, exist_ok=True)
        (whole.root / name).write_bytes((here.root / name).read_bytes())
    run(whole.root, "merge", "ground", "lawn", "road")
    moved, move, discard = [0], staging._move, staging.discard

    def stop(path: Path, target: Path) -> None:
        if moved[0] == after:
            raise Killed
        moved[0] += 1
        move(path, target)

    monkeypatch.setattr(staging, "_move", stop)
    with chdir(here.root), pytest.raises(Killed):
        main.main(["classes", "merge", "ground", "lawn", "road"], standalone_mode=False)
    monkeypatch.setattr(staging, "_move", move)
    assert discard is staging.discard
    assert (here.root / staging.FOLDER / "journal.json").is_file()
    output = run(here.root, "merge", "ground", "lawn", "road")
    assert "finished the change that was interrupted: merge ground lawn road" in output
    ours, theirs = contents(here.root), contents(whole.root)
    assert {name for name in theirs if ours.get(name) != theirs[name]} == set()
    assert set(ours) == set(theirs)


def test_dvc_computes_no_frame_again(here: Artifacts) -> None:
    root = here.root
    (root / "dvc.yaml").write_text(PIPELINE)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    with chdir(root):
        Repo.init(".").close()
        (root / "e.json").write_text("{}")
        with Repo(".") as repo:
            repo.commit(force=True)
            assert repo.status() == {}
    stages = ["label", "cam", "crf", "train"]
    assert recording.up_to_date(root, stages) == stages
    assert "outputs of label, cam, crf, train: none is computed again" in run(root, "rename", "road", "street")
    assert recording.up_to_date(root, [*stages, "eval"]) == stages
    assert "outputs of label, cam, crf: none is computed again" in run(root, "merge", "ground", "lawn", "street")
    assert recording.up_to_date(root, [*stages, "eval"]) == ["label", "cam", "crf"]
    recorded = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    assert list(recorded["crf"]["params"]["params.yaml"]["classes"]) == ["ground", "sky"]
    assert list(recorded["train"]["params"]["params.yaml"]["classes"]) == ["lawn", "street", "sky"]
    # DVC's cache still has the outputs of the first run, whose files may be links to it.
    with chdir(root), Repo(".") as repo:
        masks = repo.stage.load_one(name="crf").outs[0]
        assert len({path.read_bytes() for path in Path(repo.cache.local.path).rglob("*") if path.is_file()}) > 10
        assert masks.changed_checksum() is False
    (root / "data/labels/labels.csv").write_text('"Frame","Labels"\n')  # edited: label is not as dvc.lock has it
    output = run(root, "rename", "sky", "heaven")
    assert "label" not in output.split("dvc.lock describes")[-1].split(":")[0]


def test_the_tables_of_a_spreadsheet_are_written_as_plain_csv(here: Artifacts) -> None:
    run(here.root, "merge", "ground", "lawn", "road")
    with (here.root / "data/labels/given.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["Frame", "ground", "sky"],
            ["drive_000000", "x", "x"],
            ["drive_000010", "x", ""],
        ]
