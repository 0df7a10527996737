"""The label stage with a method that asks a language model behind a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.encoders.models import noise, save
from tests.labels.language.conftest import Misbehaving, bad_server, no_key, short_pauses
from tests.labels.language.tiny_llava import save_llava
from tests.shared import shipped_content, shipped_params
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core.errors import DataError, ModelError, ParamsError
from wildseg.core.files import load_json
from wildseg.execution import params
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.stages import label

__all__ = ["bad_server", "no_key", "short_pauses"]
ROOT = Path(__file__).parents[2]
NAMES = ("sky", "lawn")
CPU = Runtime(1, "cpu")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    monkeypatch.setenv("WILDSEG_CACHE", str(tmp_path / "kept"))
    artifacts = Artifacts(tmp_path)
    frames = [Frame(f"drive_{i:06d}", "drive", i, i / 5, "train") for i in range(5)]
    for frame in frames:
        artifacts.save_image(frame.name, noise((48, 64), frame.index))
    artifacts.save_frames(frames)
    return artifacts


def values(server: str | None, model: str | None, method: str = "vlm_direct") -> Params:
    whole = shipped_params()
    language = replace(whole.label.language, server=server, model=model)
    return replace(
        whole,
        classes=params.Classes.from_mapping({"sky": "sky", "lawn": "lawn"}),
        clip=replace(whole.clip, model="never loaded", pretrained="nowhere"),
        label=replace(whole.label, method=method, language=language, max_failures=0.5),
    )


def test_labels_answers_and_what_they_cost_are_written(
    project: Artifacts, bad_server: Misbehaving, capsys: pytest.CaptureFixture[str]
) -> None:
    label.run(values(bad_server.url, "good"), project, CPU)
    np.testing.assert_array_equal(list(project.load_labels(NAMES).values()), [[True, False]] * 5)
    lines = [json.loads(line) for line in project.answers_jsonl.read_text().splitlines()]
    assert [line["frame"] for line in lines] == [f"drive_{i:06d}" for i in range(5)]
    assert lines[0]["refused"] == ["boat"]
    assert lines[0]["turns"][0]["answered"] == '{"annotations": ["sky", "boat"]}'
    assert "- lawn: lawn" in lines[0]["turns"][0]["asked"]
    spent = load_json(project.metrics_path("label.json"))["language"]
    assert spent.pop("seconds") > 0
    assert spent == {
        "questions": 5, "retries": 0, "parse_errors": 0, "refused_names": 5, "tokens_in": 500, "tokens_out": 35,
        "cost": 1.25,
    }  # fmt: skip
    assert "cache" not in capsys.readouterr().out


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(
    project: Artifacts, bad_server: Misbehaving, capsys: pytest.CaptureFixture[str]
) -> None:
    made = (project.answers_jsonl, project.labels_csv, project.scores_csv, project.metrics_path("label.json"))
    label.run(values(bad_server.url, "good"), project, CPU)
    before = [path.read_bytes() for path in made]
    label.run(values("http://127.0.0.1:9/v1", "good"), project, CPU)
    assert [path.read_bytes() for path in made] == before
    assert len(bad_server.asked("good")) == 5
    assert ", 5 of 5 answers from the cache" in capsys.readouterr().out


def test_what_was_paid_for_before_a_run_broke_off_is_not_paid_for_again(
    project: Artifacts, bad_server: Misbehaving
) -> None:
    with pytest.raises(ModelError, match="the money is used up"):
        label.run(values(bad_server.url, "dies:3"), project, Runtime(1, "cpu", requests=1))
    with pytest.raises(ModelError):
        label.run(values(bad_server.url, "dies:3"), project, Runtime(1, "cpu", requests=1))
    asked = [json.dumps(body["messages"]) for body in bad_server.asked("dies:3")]
    assert len(asked) == 5
    assert len(set(asked[:4])) == 4
    assert asked[4] == asked[3]  # the one that was refused, and no other


def test_a_broken_frame_is_set_aside(project: Artifacts, bad_server: Misbehaving) -> None:
    (project.data / "frames" / "drive_000002.jpg").write_bytes(b"not a picture")
    label.run(values(bad_server.url, "good"), project, CPU)
    assert len(project.load_labels(NAMES)) == 4
    assert "drive_000002" in project.quarantine_csv("label").read_text()


def test_a_frame_that_the_server_refuses_is_set_aside(
    project: Artifacts, bad_server: Misbehaving, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_API_KEY", "very-secret")
    project.save_image("drive_000002", noise((48, 66)))
    label.run(values(bad_server.url, "picky:48x66"), project, CPU)
    assert [f"drive_{i:06d}" for i in (0, 1, 3, 4)] == list(project.load_labels(NAMES)) == list(
        json.loads(line)["frame"] for line in project.answers_jsonl.read_text().splitlines()
    )  # fmt: skip
    listed = project.quarantine_csv("label").read_text()
    assert "drive_000002: http://127.0.0.1" in listed
    assert "HTTP 400: content policy; wrong key Bearer ..." in listed
    assert "very-secret" not in listed
    assert ", 1 quarantined" in capsys.readouterr().out


def test_more_refusals_than_may_be_stop_the_stage(project: Artifacts, bad_server: Misbehaving) -> None:
    asked = values(bad_server.url, "picky:48x64")
    with pytest.raises(
        DataError, match=r"label.max_failures: expected at most 50% of 5 .* first drive_000000 \(.*HTTP 400"
    ):
        label.run(asked, project, CPU)
    with pytest.raises(DataError, match=r"^drive_000000: http.*HTTP 400.*; label.max_failures says how many") as caught:
        label.run(replace(asked, label=replace(asked.label, max_failures=0.0)), project, CPU)
    assert "\n" not in str(caught.value)


def test_answers_that_say_nothing_are_told(
    project: Artifacts, bad_server: Misbehaving, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = values(bad_server.url, "prose")
    argmax = replace(asked, label=replace(asked.label, fallback="argmax"))  # of nothing there is no best
    for each in (asked, argmax):
        with pytest.raises(
            DataError,
            match=r"score is 0.000\); change the phrases; 5 answers could not be read, .*answers.jsonl has them",
        ):
            label.run(each, project, CPU)
    assert "I see the sky and a lawn." in project.answers_jsonl.read_text()
    project.overrides_csv.write_text(f"Frame,Labels\n{project.load_frames()[0].name},{asked.classes.names[0]}\n")
    label.run(asked, project, CPU)
    assert ", 5 answers that could not be read, 10 of 10 answers from the cache" in capsys.readouterr().out


def test_no_key_is_written_anywhere(
    project: Artifacts, bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WILDSEG_API_KEY", "very-secret")
    label.run(values(bad_server.url, "good"), project, CPU)
    with pytest.raises(ModelError) as caught:
        label.run(values(bad_server.url, "locked"), project, CPU)
    assert bad_server.asked("good")[0]["key"] == "Bearer very-secret"
    written = [path for path in project.root.rglob("*") if path.is_file() and path != bad_server.log]
    assert len(written) > 10
    assert [path for path in written if b"very-secret" in path.read_bytes()] == []
    assert "very-secret" not in "".join(capfd.readouterr()) + str(caught.value)


def test_templates_can_be_ranked_by_what_a_language_model_says(project: Artifacts, bad_server: Misbehaving) -> None:
    (project.data / "frames" / "drive_000003.jpg").write_bytes(b"not a picture")
    project.save_image("drive_000002", noise((48, 66)))
    name, weights = save(project.root, "tiny")
    asked = values(bad_server.url, "picky:48x66")
    sharpest = replace(asked.clip.sharpest, candidates=("a photo of {}.", "{}"))
    clip = replace(asked.clip, model=name, pretrained=Path(weights).name, templates="sharpest", sharpest=sharpest)
    label.run(replace(asked, clip=clip), project, CPU)
    assert load_json(project.metrics_path("label.json"))["sharpest"]["candidates"] == 2
    assert len(project.load_labels(NAMES)) == 3
    # Each frame once, for the ranking and the labels; but the one that is refused twice, and once more.
    assert len(bad_server.asked("picky:48x66")) == 3 + 4


def test_a_run_that_was_killed_asks_only_what_it_had_not_heard(project: Artifacts, bad_server: Misbehaving) -> None:
    text = shipped_content()
    text["label"]["language"] |= {"server": bad_server.url, "model": "slow"}
    text["label"]["method"] = "vlm_direct"
    (project.root / "params.yaml").write_text(yaml.safe_dump(text))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "WILDSEG_REQUESTS": "1"}
    program = [sys.executable, "-m", "wildseg.cli", "label"]
    with subprocess.Popen(program, cwd=project.root, env=environment, stdout=subprocess.DEVNULL) as process:
        while len(bad_server.asked("slow")) < 3:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert not project.labels_csv.exists()
    kept = len([path for path in (project.root / "kept" / "language").rglob("*") if path.is_file()])
    assert kept >= 2
    before = len(bad_server.asked("slow"))
    subprocess.run(program, cwd=project.root, env=environment, check=True, capture_output=True)
    assert len(bad_server.asked("slow")) - before == 5 - kept
    assert len(project.answers_jsonl.read_text().splitlines()) == 5


def test_a_model_on_this_machine_labels_every_frame(project: Artifacts) -> None:
    save_llava(project.root / "llava")
    label.run(values(None, "llava"), project, CPU)
    lines = [json.loads(line) for line in project.answers_jsonl.read_text().splitlines()]
    assert [line["parse_errors"] for line in lines] == [0] * 5
    assert load_json(project.metrics_path("label.json"))["language"]["tokens_out"] > 0


def test_other_methods_leave_an_empty_file_of_answers(project: Artifacts) -> None:
    (project.data / "labels").mkdir(parents=True)
    rows = "".join(f"drive_{i:06d},sky\n" for i in range(5))
    (project.data / "labels" / "given.csv").write_text("Frame,Labels\n" + rows)
    label.run(values(None, None, "given"), project, CPU)
    assert project.answers_jsonl.read_bytes() == b"\n"  # DVC warns of files without bytes
    assert load_json(project.metrics_path("label.json"))["language"] is None


@pytest.mark.parametrize(
    ("server", "model", "line"),
    [
        ("http://127.0.0.1:9/v1", None, "label.language.model: expected the model that vlm_direct asks"),
        ("nowhere", "m", "label.language.server: expected an address such as"),
    ],
)
def test_what_is_missing_is_told(server: str, model: str | None, line: str, project: Artifacts) -> None:
    with pytest.raises(ParamsError, match=line):
        label.run(values(server, model), project, CPU)
