"""What a change reruns, and what it does not, with real runs of DVC."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.labels.language.conftest import Misbehaving, bad_server
from tests.pipeline.conftest import Project, served, stages_run

__all__ = ["bad_server"]

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
        ("clip", {"templates": ["a picture of {}."]}, ["label", "cam", "train"]),  # san embeds them
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
    assert touched(project) == ["cam", "train"]  # the latter by `clip`, of which san needs the templates
    assert {"data/labels/prompts.json", "metrics/label/templates.csv"} <= {*project.digests()}
    assert json.loads((project.folder / "metrics/label.json").read_text())["sharpest"]["sharpness"]
    page = project.folder / "dvc_plots" / "index.html"
    project.dvc("plots", "show", "metrics/label/templates.csv")
    assert "a picture of {}." in page.read_text()


# What an edit of the code recomputes ---------------------------------------------------------------------------------


def append(path: Path, line: str) -> None:
    with path.open("a") as stream:
        stream.write(f"{line}\n")


def chosen(project: Project) -> set[Path]:
    """The method files that params.yaml chose: what dvc.yaml names in `methods`, file by file.

    Of refinements a list may be chosen, which no path can name, so that their folder is a dependency.
    """
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    deps = [dep["path"] for stage in lock["stages"].values() for dep in stage["deps"]]
    named = [project.folder / dep for dep in deps if dep.startswith("src/wildseg/methods/")]
    return {file for path in named for file in (path.glob("*.py") if path.is_dir() else [path])} & methods(project)


def methods(project: Project) -> set[Path]:
    """The files of all methods."""
    return {path for path in (project.folder / "src/wildseg/methods").rglob("*.py") if path.stem != "__init__"}


def last_runs(project: Project) -> dict[str, tuple[int, int]]:
    """What `wildseg cache` says of the last run of each stage: results from the cache, and computed ones."""
    lines = project.run("wildseg", "cache").splitlines()
    found = [re.match(r"(\w+) .* (\d+) from the cache, (\d+) computed$", line) for line in lines]
    return {match[1]: (int(match[2]), int(match[3])) for match in found if match}


def test_a_comment_in_every_unused_method_and_what_editors_leave_rerun_nothing(project: Project) -> None:
    used = chosen(project)
    assert len(used) >= 4
    assert used < methods(project)
    for path in methods(project) - used:
        append(path, "# a remark")
    room = project.folder / "src/wildseg/core"
    for name in (".files.py.swp", "files.py~", "#files.py#", ".DS_Store"):
        append(room / name, "half a file")
    (room / ".#files.py").symlink_to("person@machine.1")
    output = project.dvc("repro")
    assert stages_run(output) == []
    assert "up to date" in output


def test_a_comment_everywhere_else_recomputes_no_frame_trains_nothing_and_changes_no_output(project: Project) -> None:
    before, frames = project.digests(), len(list((project.folder / "data/frames").glob("*.jpg")))
    for path in set((project.folder / "src").rglob("*.py")) - (methods(project) - chosen(project)):
        append(path, "# a remark")
    output = project.dvc("repro")
    assert stages_run(output) == STAGES
    assert served(output) == dict.fromkeys(("label", "cam", "crf"), (frames, frames))
    runs = last_runs(project)
    assert {*STAGES} <= runs.keys()
    assert {stage: computed for stage, (_, computed) in runs.items()} == dict.fromkeys(runs, 0)
    assert all(cached for cached, _ in runs.values())
    assert project.digests() == before


def test_a_comment_in_a_room_starts_the_stages_that_name_it_and_dvc_skips_what_follows(project: Project) -> None:
    append(project.folder / "src/wildseg/cam/engine.py", "# a remark")
    output = project.dvc("repro")
    assert stages_run(output) == ["label", "cam"]  # label, too: some of its methods refine maps
    assert {cached - frames for frames, cached in served(output).values()} == {0}


def test_a_change_of_the_chosen_method_recomputes_its_stage_alone(project: Project) -> None:
    used = project.folder / f"src/wildseg/methods/cam/{project.params()['cam']['method']}.py"
    append(used, "CHANGED = 1")
    output = project.dvc("repro")
    # The maps come out the same, so DVC stops there: what follows depends on their content.
    assert stages_run(output) == ["cam"]
    assert served(output)["cam"][1] == 0


def test_a_change_of_a_room_recomputes_what_uses_it_and_nothing_else(project: Project) -> None:
    for changed in ("cam/engine.py", "labels/language/server.py", "crf/weak/points.py"):
        append(project.folder / "src/wildseg" / changed, "CHANGED = 1")
    output = project.dvc("repro")
    frames = served(output)["cam"][0]
    assert stages_run(output) == ["label", "cam", "crf"]
    # Labels by CLIP ask no language model, and pseudo masks need no points.
    assert served(output) == {"label": (frames, frames), "cam": (frames, 0), "crf": (frames, frames)}


def test_a_change_of_a_language_client_asks_again_and_a_comment_in_it_does_not(
    project: Project, bad_server: Misbehaving
) -> None:
    label = project.params()["label"]
    language = {**label["language"], "model": "good", "server": bad_server.url}
    project.change("label", method="vlm_direct", language=language)
    project.dvc("repro", "label")
    questions = len(bad_server.asked("good"))
    assert questions > 0

    client = project.folder / "src/wildseg/labels/language/server.py"
    for path in client.parent.glob("*.py"):
        append(path, "# a remark")
    assert stages_run(project.dvc("repro", "label")) == ["label"]
    assert len(bad_server.asked("good")) == questions

    append(client, "CHANGED = 1")
    assert stages_run(project.dvc("repro", "label")) == ["label"]
    assert len(bad_server.asked("good")) == 2 * questions


def test_a_method_is_added_by_adding_one_file(project: Project) -> None:
    folder = project.folder / "src/wildseg/methods/cam"
    (folder / "mycam.py").write_text((folder / "hirescam.py").read_text())
    assert stages_run(project.dvc("exp", "run", "cam", "-S", "cam.method=mycam")) == ["cam"]


def test_a_correction_by_a_person_reruns_label_and_wins(project: Project) -> None:
    labels = project.folder / "data/labels/labels.csv"
    frame = labels.read_text().splitlines()[1].split(",")[0].strip('"')
    (project.folder / "data/labels/overrides.csv").write_text(f'Frame,Labels\n{frame},"sky,water"\n')
    assert stages_run(project.dvc("repro", "label")) == ["label"]
    assert f'"{frame}","sky,water"' in labels.read_text()
