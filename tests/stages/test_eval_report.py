import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.report.test_page import Read
from tests.shared import shipped_content, shipped_params
from tests.stages import tiny_run
from tests.stages.tiny_run import LAWN, SKY, rows
from wildseg.artifacts.project import Artifacts
from wildseg.core.colour_words import SURFACES, THINGS
from wildseg.core.colours import palette
from wildseg.core.errors import DataError
from wildseg.execution import fingerprint
from wildseg.execution import params as parameters
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.stages.eval.report_task import ReportTask
from wildseg.stages.eval.run_record import changed
from wildseg.stages.eval.stage import run

NAMES = [frame.name for frame in tiny_run.FRAMES]


def read(artifacts: Artifacts, workers: int = 1, **changes: Any) -> Read:  # noqa: ANN401
    run(tiny_run.params(**changes), artifacts, Runtime(workers, "cpu"))
    return Read(artifacts.report_page.read_text(encoding="utf-8"))


def entries(found: Read) -> list[dict[str, Any]]:
    return json.loads(found.scripts["data-frames"])


def outputs(artifacts: Artifacts) -> dict[str, bytes]:
    files = [artifacts.report_page, *(artifacts.report_folder / "frames").rglob("*.*")]
    return {str(path.relative_to(artifacts.root)): path.read_bytes() for path in files}


def test_frames_have_their_labels_numbers_and_pictures(artifacts: Artifacts) -> None:
    found = entries(read(artifacts))
    assert [frame["name"] for frame in found] == NAMES
    assert [frame["split"] for frame in found] == ["trained on", "tested on", "held out", "held out"]
    first, second, third, fourth = found
    # Truth: sky and lawn; labels: road and sky.
    assert first["labels"] == [
        {"class": 1, "score": 0.3, "present": False, "truth": True},
        {"class": 2, "score": 0.6, "present": True, "truth": False},
        {"class": 3, "score": 0.9, "present": True, "truth": True},
    ]
    assert (first["maps"], first["size"], first["time"]) == ([1, 2], [4, 4], 0.0)
    # The model says lawn everywhere, half of which is right; a quarter of the mask is open, and a third of it lawn.
    assert first["miou"] == 0.25
    assert first["iou"] == {"1": 0.5, "3": 0.0}
    assert (first["open"], first["masks_model"], first["maps_model"]) == (0.25, pytest.approx(2 / 3, abs=1e-4), 1.0)
    assert first["confidence"] == 0.8
    assert second["labels"][0] == {"class": 1, "score": 0.8, "present": True, "truth": True}
    assert third["masks_model"] is None  # nothing is decided
    assert "miou" not in fourth
    ids = np.asarray(Image.open(artifacts.report_picture("ids", NAMES[0])))
    assert np.array_equal(ids[:4], rows(SKY, SKY, LAWN, 255))
    assert (ids[4:8] == LAWN).all()
    assert np.array_equal(ids[8:], rows(SKY, SKY, LAWN, LAWN))
    assert Image.open(artifacts.report_picture("ids", NAMES[3])).height == 8  # without truth
    assert Image.open(artifacts.report_picture("maps", NAMES[0])).height == 3 * 16
    assert Image.open(artifacts.report_picture("photo", NAMES[0])).size == (4, 4)


def test_chosen_colours_are_shown_and_nothing_is_predicted_again(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", "")
    read(artifacts)
    picture = next(artifacts.metrics_path("eval/pictures").iterdir())
    before = np.asarray(Image.open(picture))
    values = replace(tiny_run.params(), colours={"lawn": "#ff0080"})
    run(values, artifacts, Runtime(1, "cpu"))
    assert "4 from the cache" in capsys.readouterr().out.splitlines()[-2]  # of the model
    found = Read(artifacts.report_page.read_text(encoding="utf-8"))
    expected = {"lawn": "#ff0080", "road": SURFACES["road"], "sky": THINGS["sky"]}
    assert expected.items() <= {one["name"]: one["colour"] for one in json.loads(found.scripts["data-classes"])}.items()
    ids = Image.open(artifacts.report_picture("ids", NAMES[0]))
    assert np.asarray(ids.convert("RGB"))[-1, 0].tolist() == [255, 0, 128]
    after = np.asarray(Image.open(picture))
    shown = [(pixels == (255, 0, 128)).all(2).any() for pixels in (before, after)]  # in the legend
    assert shown == [False, True]


def test_levels_of_the_budget_are_those_counted_on_paper(artifacts: Artifacts) -> None:
    text = read(artifacts).text
    # Second frame, the only one that the model was not trained on: 11 of lawn, 1 of road, 4 unknown. Labelled lawn
    # alone, perfect maps would miss the road; all levels say lawn everywhere.
    assert "1 of 2 frames: those that the model was not trained on." in text
    assert f"Perfect maps of these labelswhat missed labels cost{1 / 2:.3f}" in text
    for title in ("Pseudo maskswhat the CRF changes", "Modelwhat training changes"):
        assert f"{title}{11 / 24:.3f}" in text
    assert "Most is lost by classes that the labels miss: 0.500 mIoU, down to 0.500." in text


@pytest.mark.usefixtures("forked_workers")
def test_two_runs_and_any_number_of_workers_write_the_same_bytes(artifacts: Artifacts) -> None:
    read(artifacts)
    first = outputs(artifacts)
    assert len(first) == 1 + 3 * 4
    (artifacts.report_folder / "frames" / "ids" / "of_an_older_run.png").touch()
    for name in (".index.1.html", "runs/.0123456789abcdef.1.js"):  # of one that was killed
        (artifacts.report_folder / name).touch()
    read(artifacts, workers=2)
    assert outputs(artifacts) == first
    assert not list(artifacts.report_folder.rglob(".*"))


def test_what_is_typed_and_answered_reaches_the_page_escaped(artifacts: Artifacts) -> None:
    hostile = "</script><script>alert('1')</script>"
    turn = {"asked": "?", "answered": f'I see "{hostile}" \u2028'}
    artifacts.save_answers([NAMES[1], "unknown"], [{"turns": [turn]}, {"turns": [turn]}])
    curve = artifacts.metrics_path("train/curve.csv")
    curve.write_text(curve.read_text().replace("val_miou", hostile))
    found = read(artifacts)
    assert sorted(found.scripts) == ["data-classes", "data-frames", "script", "style"]
    assert entries(found)[1]["answer"] == turn["answered"].strip()
    assert hostile not in artifacts.report_page.read_text()


def test_without_any_truth_the_page_says_so(artifacts: Artifacts) -> None:
    for path in (artifacts.root / "data" / "truth").iterdir():
        path.unlink()
    found = read(artifacts)
    assert "No key frame has a truth" in found.text
    assert [label["truth"] for frame in entries(found) for label in frame["labels"]].count(None) > 3


def test_as_many_frames_are_shown_as_wanted_of_both_groups(artifacts: Artifacts) -> None:
    found = read(artifacts, report_frames=2)
    assert [frame["source"] for frame in entries(found)] == ["drive", "other"]
    assert "2 evenly spaced frames of 4." in found.text
    found = read(artifacts, report_frames=0)
    assert "eval.report_frames is 0" in found.text
    assert not list((artifacts.report_folder / "frames").rglob("*.*"))


def test_a_broken_line_of_answers_is_named(artifacts: Artifacts) -> None:
    artifacts.answers_jsonl.write_text('{"frame": "drive_000000"}\n{"frame": 3}\n')
    with pytest.raises(
        DataError, match=r"answers.jsonl, line 2: expected the record of a frame; run 'dvc repro label'"
    ):
        read(artifacts)
    artifacts.answers_jsonl.write_text("{")
    with pytest.raises(DataError, match=r"answers.jsonl: expected a JSON object a line"):
        read(artifacts)


def test_code_that_draws_is_part_of_the_key(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    task = ReportTask(artifacts.root, ("lawn",), palette(("lawn",)), False, artifacts.root, {}, [])
    before, real = task.code(), fingerprint.parse
    for name in ("sheets", "frame_numbers", "drawing"):
        start = f'"""{ {"sheets": "Pictures of", "frame_numbers": "What the", "drawing": "What pictures"}[name] }'

        def other(content: bytes, start: str = start) -> Any:  # noqa: ANN401
            return real(content + b"\nCHANGED = 1\n" if content.startswith(start.encode()) else content)

        monkeypatch.setattr(fingerprint, "parse", other)
        assert task.code() != before, name


# The record of the run ----------------------------------------------------------------------------------------------


def record(artifacts: Artifacts) -> dict[str, Any]:
    (path,) = (artifacts.report_folder / "runs").iterdir()
    return json.loads(path.read_text().removeprefix("wildsegRun(").removesuffix(");\n"))


def test_commit_and_experiment_are_beside_the_page_and_not_in_it(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(artifacts)
    before = outputs(artifacts)
    assert "Commit" not in dict(record(artifacts)["facts"])
    git = ["git", "-C", str(artifacts.root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q", "-b", "trunk"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    monkeypatch.setenv("DVC_EXP_NAME", "brave-<b>")
    found = read(artifacts)
    assert outputs(artifacts) == before
    digest = next(a["data-result"] for _, a in found.elements if a.get("id") == "result")
    assert (artifacts.report_folder / "runs" / f"{digest}.js").is_file()
    facts = dict(record(artifacts)["facts"])
    assert len(facts["Commit"]) == 10
    assert (facts["Branch"], facts["Experiment"], facts["Maps"]) == ("trunk", "brave-<b>", "gradcam")


def shipped() -> Params:
    return shipped_params()


def test_parameters_at_their_defaults_are_not_listed() -> None:
    assert changed(shipped()) == []


def test_changed_parameters_methods_and_classes_are_listed_with_their_defaults(tmp_path: Path) -> None:
    content = shipped_content()
    content["classes"] = {"lawn": ["lawn"], "Weg": ["path"]}
    content["label"]["method"] = "tagclip"
    content["crf"]["iterations"] = 7
    content["weak"]["pictures"] = 1  # of another pipeline
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    found = {key: (value, usual) for key, value, usual in changed(parameters.load(tmp_path / "params.yaml"))}
    assert found["label.method"] == ("tagclip", "clip")
    assert found["crf.iterations"] == ("7", "5")
    assert found["classes"][0] == '["lawn", "Weg"]'
    assert set(found) == {"label.method", "crf.iterations", "classes"}


def test_an_option_of_the_method_in_use_is_compared_with_its_default() -> None:
    values = shipped()
    method = values.label.method
    options = {**values.label.options, method: {**values.label.options[method], "tiles": 3}}
    found = changed(replace(values, label=replace(values.label, options=options)))
    assert [(key, value) for key, value, _ in found] == [(f"label.options.{method}.tiles", "3")]
