"""What a change reruns, and what it does not, with real runs of DVC."""

from __future__ import annotations

import json

import pytest

from tests.pipeline.conftest import Project, stages_run

pytestmark = pytest.mark.slow

STAGES = ["extract", "label", "cam", "crf", "train", "eval"]


def test_nothing_changed_nothing_runs(project: Project) -> None:
    output = project.dvc("repro")
    assert stages_run(output) == []
    assert "up to date" in output


@pytest.mark.parametrize(
    ("section", "values", "stages"),
    [
        ("classes", {"lawn": ["meadow", "grass"]}, STAGES[1:]),
        ("clip", {"templates": ["a picture of {}."]}, ["label", "cam"]),
        ("cam", {"method": "hirescam"}, ["cam"]),
        ("crf", {"min_confidence": 0.3}, ["crf"]),
        ("eval", {"min_presence": 0.01}, ["eval"]),
        ("weak", {"points": 3}, []),
    ],
)
def test_a_changed_parameter_reruns_the_stages_that_read_it(
    project: Project, section: str, values: dict[str, object], stages: list[str]
) -> None:
    project.change(section, **values)
    assert touched(project) == stages


def test_a_changed_prompt_reruns_label(project: Project) -> None:
    options = project.params()["label"]["options"]
    options["vlm_direct"]["prompt"] += "Take your time."
    project.change("label", options=options)
    assert touched(project) == ["label"]


def touched(project: Project) -> list[str]:
    """Return the stages that DVC finds changed by themselves, whatever comes to them from those before."""
    found, _ = json.JSONDecoder().raw_decode(project.dvc("status", "--json"))  # warnings follow it
    return [stage for stage in STAGES if any("changed deps" in change for change in found.get(stage, ()))]


def test_words_that_label_chooses_rerun_cam_and_are_shown_by_dvc(project: Project) -> None:
    candidates = "clip.sharpest.candidates=['a photo of {}.','a picture of {}.']"
    output = project.dvc("exp", "run", "label", "-S", "clip.templates=sharpest", "-S", candidates)
    assert stages_run(output) == ["label"]
    assert touched(project) == ["cam"]
    assert {"data/labels/prompts.json", "metrics/label/templates.csv"} <= {*project.digests()}
    assert "sharpest.sharpness" in project.dvc("metrics", "show")
    page = project.folder / "dvc_plots" / "index.html"
    project.dvc("plots", "show", "metrics/label/templates.csv")
    assert "a picture of {}." in page.read_text()


def test_a_comment_in_an_unused_method_reruns_nothing_and_in_the_used_one_its_stage(project: Project) -> None:
    methods = project.folder / "src/wildseg/cam/methods"
    with (methods / "layercam.py").open("a") as stream:
        stream.write("# a remark\n")
    assert touched(project) == []
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
