"""What a change reruns, and what it does not, with real runs of DVC."""

from __future__ import annotations

import pytest

from tests.pipeline.conftest import Project, stages_run

pytestmark = pytest.mark.slow

STAGES = ["extract", "label", "cam", "crf", "train", "eval"]


def test_nothing_changed_nothing_runs(project: Project) -> None:
    output = project.dvc("repro")
    assert stages_run(output) == []
    assert "up to date" in output


def test_a_changed_phrase_reruns_label_and_what_follows(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "classes.lawn=[meadow,grass]")
    assert stages_run(output) == STAGES[1:]


def test_a_changed_prompt_reruns_label(project: Project) -> None:
    output = project.dvc("repro", "label")
    assert stages_run(output) == []
    output = project.dvc("exp", "run", "label", "-S", "clip.templates=['a picture of {}.']")
    assert stages_run(output) == ["label"]


def test_words_that_label_chooses_rerun_cam_and_are_shown_by_dvc(project: Project) -> None:
    candidates = "clip.sharpest.candidates=['a photo of {}.','a picture of {}.']"
    output = project.dvc("exp", "run", "cam", "-S", "clip.templates=sharpest", "-S", candidates)
    assert stages_run(output) == ["label", "cam"]
    assert {"data/labels/prompts.json", "metrics/label/templates.csv"} <= {*project.digests()}
    assert "sharpest.sharpness" in project.dvc("metrics", "show")
    page = project.folder / "dvc_plots" / "index.html"
    project.dvc("plots", "show", "metrics/label/templates.csv")
    assert "a picture of {}." in page.read_text()


def test_another_cam_method_reruns_cam_and_what_follows(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "cam.method=hirescam")
    assert stages_run(output) == STAGES[2:]
    assert "hirescam" in project.dvc("exp", "show", "--csv", "--no-pager")


def test_another_confidence_reruns_crf_and_what_follows(project: Project) -> None:
    assert stages_run(project.dvc("exp", "run", "-S", "crf.confidence=0.3")) == STAGES[3:]


def test_an_eval_parameter_reruns_only_eval(project: Project) -> None:
    assert stages_run(project.dvc("exp", "run", "-S", "eval.min_presence=0.01")) == ["eval"]


def test_a_comment_in_an_unused_method_reruns_nothing_and_in_the_used_one_its_stage(project: Project) -> None:
    methods = project.folder / "src/wildseg/cam/methods"
    with (methods / "layercam.py").open("a") as stream:
        stream.write("# a remark\n")
    assert stages_run(project.dvc("repro")) == []
    used = project.params()["cam"]["method"]
    with (methods / f"{used}.py").open("a") as stream:
        stream.write("# a remark\n")
    # The maps come out the same, so DVC stops there: what follows depends on their content.
    assert stages_run(project.dvc("repro")) == ["cam"]


def test_a_method_is_added_by_adding_one_file(project: Project) -> None:
    methods = project.folder / "src/wildseg/cam/methods"
    (methods / "mycam.py").write_text((methods / "hirescam.py").read_text())
    assert stages_run(project.dvc("exp", "run", "cam", "-S", "cam.method=mycam")) == ["cam"]


def test_a_correction_by_a_person_reruns_label_and_wins(project: Project) -> None:
    labels = project.folder / "data/labels/labels.csv"
    frame = labels.read_text().splitlines()[1].split(",")[0].strip('"')
    (project.folder / "data/labels/overrides.csv").write_text(f'Frame,Labels\n{frame},"sky,water"\n')
    assert stages_run(project.dvc("repro", "label")) == ["label"]
    assert f'"{frame}","sky,water"' in labels.read_text()
