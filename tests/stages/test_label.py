"""The label stage on a folder of a few frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.models import noise, save
from tests.shared import shipped_params
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.artifacts.tiles import Ticks
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.core.files import load_json
from wildseg.encoders import clip
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.labels.decide import present_classes
from wildseg.labels.interface import LabelResult, NamedImage
from wildseg.labels.sharpness import rank
from wildseg.stages import label, prompts
from wildseg.stages.label_inference import LabelJob
from wildseg.stages.tasks.label import LabelTask, label_images, request_of

NAMES = ("sky", "tree", "cement_road")
CPU = Runtime(1, "cpu")


@pytest.fixture
def project(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    frames = [Frame(f"drive_{i:06d}", "drive", i, i / 5, "train") for i in range(3)]
    for frame in frames:
        artifacts.save_image(frame.name, noise((48, 64), frame.index))
    artifacts.save_frames(frames)
    return artifacts


@pytest.fixture
def values(project: Artifacts) -> Params:
    whole = shipped_params()
    name, weights = save(project.root, "tiny")
    return replace(
        whole,
        classes=params.Classes.from_mapping({"sky": ["sky", "clouds"], "tree": "tree", "cement_road": "cement road"}),
        clip=replace(whole.clip, model=name, pretrained=Path(weights).name),
        background=(),
        label=replace(whole.label, method="clip", threshold=0.0, fallback="none", options={"clip": {"tiles": 1}}),
    )


def with_label(values: Params, **changes: object) -> Params:
    return replace(values, label=replace(values.label, **changes))


def given(project: Artifacts, values: Params, text: str) -> Params:
    project.labels_csv.parent.mkdir(parents=True, exist_ok=True)
    (project.labels_csv.parent / "mine.csv").write_text(text)
    return with_label(values, method="given", options={"given": {"path": "data/labels/mine.csv"}})


def test_every_frame_gets_labels_and_scores(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    label.run(values, project, CPU)
    scores = project.load_scores(NAMES)
    assert list(scores) == ["drive_000000", "drive_000001", "drive_000002"]
    assert all(row.all() for row in project.load_labels(NAMES).values())
    assert all(((row > 0) & (row < 1)).all() for row in scores.values())
    assert capsys.readouterr().out == "label: 3 frames, 3.0 classes a frame, 0 without any\n"


def test_two_runs_write_the_same_bytes(project: Artifacts, values: Params) -> None:
    label.run(values, project, CPU)
    before = project.scores_csv.read_bytes(), project.labels_csv.read_bytes()
    label.run(values, project, CPU)
    assert (project.scores_csv.read_bytes(), project.labels_csv.read_bytes()) == before


@pytest.mark.usefixtures("forked_workers")
def test_any_number_of_workers_writes_the_same_bytes(project: Artifacts, values: Params) -> None:
    label.run(values, project, CPU)
    before = project.scores_csv.read_bytes(), project.labels_csv.read_bytes()
    label.run(values, project, Runtime(2, "cpu"))
    assert (project.scores_csv.read_bytes(), project.labels_csv.read_bytes()) == before


def test_scores_are_smoothed_over_the_key_frames_of_a_video(project: Artifacts, values: Params) -> None:
    label.run(values, project, CPU)
    plain = np.stack(list(project.load_scores(NAMES).values()))
    label.run(with_label(values, smooth_s=0.4), project, CPU)  # 0.2 s between frames: weights 1/2, 1, 1/2
    smoothed = np.stack(list(project.load_scores(NAMES).values()))
    weights = np.array([[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]])
    np.testing.assert_allclose(smoothed, weights @ plain / weights.sum(1, keepdims=True), atol=2e-6)


@pytest.mark.usefixtures("forked_workers")
def test_tagclip_decides_by_each_frames_range_of_scores_whoever_computes_them(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = with_label(values, method="tagclip", threshold="auto", options={"tagclip": {"reidentify": 0.2}})
    monkeypatch.setenv("WILDSEG_CACHE", "off")
    label.run(values, project, CPU)
    before = project.scores_csv.read_bytes(), project.labels_csv.read_bytes()
    present = np.stack(list(project.load_labels(NAMES).values()))
    scores = np.stack(list(project.load_scores(NAMES).values()))
    low, high = scores.min(1, keepdims=True), scores.max(1, keepdims=True)
    np.testing.assert_array_equal(present, scores > low + 0.5 * (high - low))
    assert present.any(1).all()
    monkeypatch.delenv("WILDSEG_CACHE")
    label.run(values, project, Runtime(2, "cpu"))
    assert (project.scores_csv.read_bytes(), project.labels_csv.read_bytes()) == before
    label.run(values, project, CPU)
    assert (project.scores_csv.read_bytes(), project.labels_csv.read_bytes()) == before
    assert capsys.readouterr().out.splitlines()[-1].endswith("3 from the cache")


def test_templates_are_ranked_by_what_a_relative_rule_finds(project: Artifacts, values: Params) -> None:
    among = replace(values.clip.sharpest, candidates=("a photo of {}.", "{}"))
    values = replace(values, clip=replace(values.clip, templates="sharpest", sharpest=among))
    told = {}
    for threshold in (0.5, 1.0):
        chosen = with_label(values, method="tagclip", threshold=threshold, fallback="argmax", options={})
        label.run(chosen, project, CPU)
        label.run(chosen, project, CPU)  # from what was kept
        told[threshold] = load_json(project.metrics_path("label.json"))
    assert told[0.5]["classes_per_frame"] > told[1.0]["classes_per_frame"] == 1
    assert all(own["sharpest"]["top1"] is not None for own in told.values())


def test_templates_are_ranked_by_the_classes_that_tiles_have(
    project: Artifacts, values: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked_by = []
    monkeypatch.setattr(prompts, "rank", lambda *given: ranked_by.append(given[2]) or rank(*given))
    both, values = ("a photo of {}.", "{}"), with_label(values, method="tagclip", options={}, grid=(2, 2))
    label.run(replace(values, clip=replace(values.clip, templates=both)), project, CPU)
    of_both = np.stack(list(project.load_labels(NAMES).values()))
    among = replace(values.clip.sharpest, candidates=both)
    label.run(replace(values, clip=replace(values.clip, templates="sharpest", sharpest=among)), project, CPU)
    np.testing.assert_array_equal(ranked_by[0], of_both)


def test_a_fixed_rule_needs_a_threshold_where_the_method_has_only_a_relative_one(
    project: Artifacts, values: Params
) -> None:
    values = with_label(values, method="tagclip", rule="fixed", threshold="auto", options={})
    with pytest.raises(ParamsError, match=r"label.threshold: for label.rule fixed this method has none of its own"):
        label.run(values, project, CPU)
    label.run(with_label(values, threshold=0.0), project, CPU)
    assert all(row.all() for row in project.load_labels(NAMES).values())


def test_a_person_wins_over_the_method_and_is_not_overwritten(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    project.overrides_csv.parent.mkdir(parents=True)
    project.overrides_csv.write_text('Frame,Labels\ndrive_000001,"tree"\ndrive_000002,""\n')
    label.run(values, project, CPU)
    labels = project.load_labels(NAMES)
    np.testing.assert_array_equal(labels["drive_000001"], [False, True, False])
    assert not labels["drive_000002"].any()
    assert labels["drive_000000"].all()
    assert project.overrides_csv.is_file()
    assert capsys.readouterr().out.endswith("1 without any, 2 by hand\n")


def test_given_labels_are_read_below_the_project_folder(project: Artifacts, values: Params) -> None:
    text = 'Frame,Labels\ndrive_000000,"sky,tree"\ndrive_000001,\ndrive_000002,cement_road\n'
    label.run(replace(given(project, values, text), clip=replace(values.clip, model="never loaded")), project, CPU)
    np.testing.assert_array_equal(
        np.stack(list(project.load_labels(NAMES).values())), [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    )


def test_frames_that_are_labelled_as_a_whole_have_no_tiles_and_the_keys_of_ever(
    project: Artifacts, values: Params
) -> None:
    label.run(values, project, CPU)
    assert project.tiles_csv.read_text() == "frame,row,column,rows,columns,sky,tree,cement_road\n"
    task = LabelTask(project.root, values.classes, values.clip, values.label, project.load_prompts())
    assert set(task.depends_on()["label"]) == {"method", "options"}
    assert "grid" in replace(task, label=replace(values.label, grid=(1, 2))).depends_on()["label"]


@pytest.mark.parametrize("method", ["clip", "tagclip"])
def test_with_a_grid_each_tile_is_decided_on_as_a_frame_and_a_frame_has_the_classes_of_its_tiles(
    method: str, project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"clip": {"tiles": 1, "tiles_by": "crop"}, "tagclip": {}}
    whole = with_label(values, method=method, options=options, threshold=0.5, fallback="argmax")
    label.run(with_label(whole, grid=(2, 2)), project, CPU)
    assert " a tile (2 x 2), 0 without any" in capsys.readouterr().out
    labels, scores = project.load_labels(NAMES), project.load_scores(NAMES)
    tiles = project.load_tiles(NAMES, labels)
    model = clip.load(values.clip.model, values.clip.pretrained, root=project.root)
    request = request_of(project.root, values.classes, project.load_prompts(), (1, 1))(encoder=lambda: model)
    for frame, own in tiles.items():
        image = project.load_image(frame)
        parts = [image[i : i + 24, j : j + 32] for i in (0, 24) for j in (0, 32)]
        found = [*label_images([NamedImage("part", lambda part=part: part) for part in parts], request, whole.label)]
        expected = np.stack([result.scores for result in found])
        np.testing.assert_allclose(scores[frame], expected.max(0), atol=2e-2)  # crops differ at their borders
        if method == "tagclip":  # which is given the very same crops
            np.testing.assert_array_equal(own.reshape(4, 3), present_classes(expected, NAMES, found[0], whole.label))
        assert own.any((0, 1)).tolist() == labels[frame].tolist()
        assert own.any(-1).all()


def test_corrections_of_a_frame_reach_its_tiles(project: Artifacts, values: Params) -> None:
    project.overrides_csv.parent.mkdir(parents=True)
    project.overrides_csv.write_text('Frame,Labels\ndrive_000001,"tree"\ndrive_000002,""\n')
    label.run(with_label(values, grid=(1, 2)), project, CPU)
    tiles = project.load_tiles(NAMES, project.load_labels(NAMES))
    assert tiles["drive_000000"].all()
    assert tiles["drive_000001"].tolist() == [[[False, True, False]] * 2]
    assert not tiles["drive_000002"].any()


def test_what_was_ticked_wins_and_frames_that_are_gone_are_told(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    project.overrides_csv.parent.mkdir(parents=True)
    project.overrides_csv.write_text('Frame,Labels\ndrive_000001,"tree"\n')
    sky, gone = np.zeros((1, 2, 3), bool), Ticks(np.ones((1, 2, 3), bool), np.ones((1, 2), bool))
    sky[0, 1, 0] = True
    ticks = {"drive_000000": Ticks(sky, np.ones((1, 2), bool)), "drive_000009": gone}
    project.save_ticks(NAMES, {**ticks, "drive_000001": Ticks(sky, np.array([[False, True]]))})
    label.run(with_label(values, grid=(1, 2)), project, CPU)
    labels = project.load_labels(NAMES)
    tiles = project.load_tiles(NAMES, labels)
    assert tiles["drive_000000"].tolist() == [[[False, False, False], [True, False, False]]]
    assert tiles["drive_000001"].tolist() == [[[False, True, False], [True, False, False]]]  # by hand, ticked
    assert tiles["drive_000002"].all()
    assert labels["drive_000001"].tolist() == [True, True, False]
    lines = capsys.readouterr().out.splitlines()
    gone_line = f"label: ticks of 1 frame in {project.ticks_csv} change nothing: there is no key frame 'drive_000009'"
    assert gone_line in lines
    assert "1 by hand, 2 ticked" in lines[-1]
    priors = project.load_priors(NAMES)
    assert priors["drive_000000"].tolist() == [1.0, 0.0, 0.0]
    assert priors["drive_000001"].tolist() == [1.0, 1.0, 0.0]
    of_method = project.load_scores(NAMES)["drive_000002"]
    np.testing.assert_allclose(priors["drive_000002"], of_method / of_method.max(), atol=1e-5)


def test_a_label_counts_by_its_scores_in_tiles_that_have_it_and_a_ticked_one_is_certain(
    project: Artifacts, values: Params
) -> None:
    ticked = Ticks(np.array([[[False, False, False], [False, False, True]]]), np.array([[True, True]]))
    left = Ticks(ticked.labels, np.array([[True, False]]))  # the left tile, ticked with nothing
    project.save_ticks(NAMES, {"drive_000000": ticked, "drive_000001": left})
    scored = [[[0.9, 0.2, 0.2], [0.6, 0.3, 0.5]]] * 3
    answers = [LabelResult(np.max(tiles, 0), 0.1, tiles=np.array([tiles])) for tiles in scored]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LabelJob, "infer", lambda self, prompts, frames, failures: (answers, ""))
        label.run(with_label(values, grid=(1, 2)), project, CPU)
    priors = project.load_priors(NAMES)
    assert priors["drive_000000"].tolist() == [0.0, 0.0, 1.0]
    np.testing.assert_allclose(priors["drive_000001"], [1.0, 0.5, 0.833333])
    np.testing.assert_allclose(priors["drive_000002"], [1.0, 0.333333, 0.555556])


def test_given_labels_of_tiles_are_read_and_decided(project: Artifacts, values: Params) -> None:
    rows = "".join(f"drive_{n:06d},sky,1,1\ndrive_{n:06d},tree,2,1\n" for n in range(3))
    label.run(with_label(given(project, values, f"Frame,Labels,Row,Column\n{rows}"), grid=(2, 1)), project, CPU)
    tiles = project.load_tiles(NAMES, project.load_labels(NAMES))
    np.testing.assert_array_equal(tiles["drive_000002"], [[[1, 0, 0]], [[0, 1, 0]]])


def test_scores_of_tiles_are_smoothed_each_with_its_own(project: Artifacts, values: Params) -> None:
    rows = "".join(f"drive_{n:06d},{'sky' if n == 1 else ''},1,1\ndrive_{n:06d},tree,1,2\n" for n in range(3))
    whole = with_label(given(project, values, f"Frame,Labels,Row,Column\n{rows}"), grid=(1, 2), threshold=0.2)
    label.run(replace(whole, label=replace(whole.label, smooth_s=0.4)), project, CPU)
    tiles = project.load_tiles(NAMES, project.load_labels(NAMES))
    assert tiles["drive_000000"].tolist() == [[[True, False, False], [False, True, False]]]  # sky: a third


def test_no_frame_with_any_class_is_an_error_that_says_what_to_do(project: Artifacts, values: Params) -> None:
    with pytest.raises(DataError, match=r"in some of 3 frames, found none .*lower label.threshold"):
        label.run(with_label(values, threshold=1.0), project, CPU)
    assert not project.labels_csv.exists()
    label.run(with_label(values, threshold=1.0, fallback="argmax"), project, CPU)
    assert all(row.sum() == 1 for row in project.load_labels(NAMES).values())


def test_missing_weights_are_told(project: Artifacts, values: Params) -> None:
    with pytest.raises(ModelError, match="expected a file of weights, found none at 'no.safetensors'"):
        label.run(replace(values, clip=replace(values.clip, pretrained="no.safetensors")), project, CPU)


def test_a_correction_of_an_unknown_frame_leaves_no_labels(project: Artifacts, values: Params) -> None:
    project.overrides_csv.parent.mkdir(parents=True)
    project.overrides_csv.write_text("Frame,Labels\ndrive_000009,tree\n")
    with pytest.raises(DataError, match="found 'drive_000009'"):
        label.run(values, project, CPU)
    assert not project.labels_csv.exists()


def test_words_that_the_model_was_not_taught_and_a_class_in_no_frame_are_told_in_a_line_each(
    project: Artifacts, values: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / f"{values.clip.model}.words.txt").write_text("# two words\nsky\ncement roads\n")
    label.run(with_label(values, threshold={"sky": 0.0, "tree": 1.0, "cement_road": 0.0}), project, CPU)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"label: {values.clip.model} was trained on two words, without 'clouds', 'tree': ")
    assert lines[1].startswith("label: tree is in none of 3 frames, so no map or mask will have it; ")
    assert [line.split(",")[0] for line in lines[2:]] == ["label: 3 frames"]
    text = "Frame,Labels\n" + "".join(f"drive_{index:06d},sky\n" for index in range(3))
    label.run(given(project, values, text), project, CPU)  # whose maps ask the model, too
    assert "without 'clouds', 'tree'" in capsys.readouterr().out
