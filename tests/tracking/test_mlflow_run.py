import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts
from wildseg.core.files import save_json
from wildseg.core.project_root import project_root
from wildseg.tracking import mlflow_run
from wildseg.tracking.quiet import short_reason
from wildseg.tracking.sqlite import default_uri
from wildseg.tracking.values import flatten_params, grouped_metrics, unique_name

METRICS = {
    "miou": 0.5,
    "recall": 0.6,
    "segmenter": {"miou": 0.5, "iou.lawn": 0.7, "iou.sky": None, "fwiou": float("nan")},
    "unseen": None,
}
HEADLINE = {"miou": 0.5, "recall": 0.6, "coverage": None}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "DVC_", "WILDSEG_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a fresh mlflow.db: making one takes seconds, copying one none."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    with mlflow_run.quiet():
        client(path.parent).search_experiments()
    return path.read_bytes()


@pytest.fixture
def artifacts(tmp_path: Path, empty_store: bytes) -> Artifacts:
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    return tiny_run.make(tmp_path)


@pytest.fixture
def picture(artifacts: Artifacts) -> Path:
    path = artifacts.metrics_path("eval/pictures/drive_000010.png")
    path.parent.mkdir(parents=True)
    path.write_bytes(artifacts.frame_path("drive_000010").read_bytes())
    return path


def client(root: Path) -> Any:  # noqa: ANN401
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")


def runs(artifacts: Artifacts) -> list[Any]:
    """Return all runs of the store, the oldest first."""
    with mlflow_run.quiet():
        ids = [e.experiment_id for e in client(artifacts.root).search_experiments()]
        return list(client(artifacts.root).search_runs(ids, order_by=["attributes.start_time ASC"]))


def curve(artifacts: Artifacts, run: Any, name: str) -> list[tuple[int, float]]:  # noqa: ANN401
    history = client(artifacts.root).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in history)


def files(artifacts: Artifacts, run: Any, folder: str) -> list[str]:  # noqa: ANN401
    return [Path(item.path).name for item in client(artifacts.root).list_artifacts(run.info.run_id, folder)]


def artifact(artifacts: Artifacts, run: Any, name: str) -> Any:  # noqa: ANN401
    """Return what a JSON file of a run holds."""
    return json.loads(Path(client(artifacts.root).download_artifacts(run.info.run_id, name)).read_text())


@pytest.fixture
def git(artifacts: Artifacts) -> Any:  # noqa: ANN401
    def call(*arguments: str) -> str:
        named = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(artifacts.root), *named, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    call("init", "--quiet", "--initial-branch=field-trip")
    (artifacts.root / "code.py").write_text("a = 1\n")
    (artifacts.root / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n"
        "  cam:\n    outs:\n    - {path: data/cams, hash: md5, md5: 12ab.dir}\n"
        "  eval:\n    outs:\n    - {path: metrics/eval.json, hash: md5, md5: 34cd}\n"
    )
    call("add", "code.py", "dvc.lock")
    call("commit", "--quiet", "--message", "first")
    return call


def test_a_run_holds_parameters_metrics_curve_pictures_and_model(artifacts: Artifacts, picture: Path) -> None:
    params = tiny_run.params()
    with mlflow_run.training(artifacts, params) as live:
        for step, loss in ((1, 2.0), (2, 1.5), (3, float("nan"))):
            live.log(step, loss=loss, val_miou=step / 4)
    mlflow_run.finish(artifacts, params, METRICS, HEADLINE, [picture])

    (run,) = runs(artifacts)
    assert run.info.status == "FINISHED"
    assert run.data.params["cam.method"] == params.cam.method
    assert run.data.params["eval.pictures"] == "2"
    assert run.data.params["classes.lawn"] == '["lawn", "grass"]'
    logged = {name: value for name, value in run.data.metrics.items() if not name.startswith("train/")}
    assert logged == {"miou": 0.5, "recall": 0.6, "segmenter/miou": 0.5, "segmenter/iou.lawn": 0.7}
    assert curve(artifacts, run, "train/loss") == [(1, 2.0), (2, 1.5)]
    assert curve(artifacts, run, "train/val_miou") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert files(artifacts, run, "pictures") == ["drive_000010.png"]
    assert files(artifacts, run, "metrics") == ["curve.csv"]
    assert (artifacts.root / "mlartifacts").is_dir()
    assert len(run.outputs.model_outputs) == 1


def test_the_model_loads_without_pickle_and_predicts(artifacts: Artifacts) -> None:
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    stored = [path for path in (artifacts.root / "mlartifacts").rglob("*") if path.is_file()]
    assert not [path for path in stored if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin")]
    assert not [path for path in stored if path.read_bytes()[:1] == b"\x80"]  # how a pickle of today begins
    assert [path.name for path in stored if path.suffix == ".safetensors"] == ["model.safetensors"]

    import mlflow

    (run,) = runs(artifacts)
    with mlflow_run.quiet():
        location = client(artifacts.root).get_logged_model(run.outputs.model_outputs[0].model_id).artifact_location
        model = mlflow.pyfunc.load_model(location)
        answer = model.predict(np.zeros((5, 7, 3), np.uint8))
    assert answer.dtype == np.uint8
    assert (answer == np.full((5, 7), tiny_run.LAWN)).all()
    assert model.metadata.metadata["classes"] == ["background", "lawn", "road", "sky"]
    assert model.metadata.metadata["preprocessing"]["mean"] == artifacts.load_segmenter_config()["mean"]
    assert model.input_example.shape == (48, 64, 3)
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, -1, 3)


def test_eval_goes_on_with_the_run_of_its_training_once(artifacts: Artifacts) -> None:
    params = tiny_run.params()
    with mlflow_run.training(artifacts, params):
        pass
    for _ in range(2):  # a second eval of the same model is another run
        mlflow_run.finish(artifacts, params, METRICS, HEADLINE, [])
    first, second = runs(artifacts)
    assert "train/loss" not in first.data.metrics  # nothing was logged live
    assert first.data.metrics["miou"] == second.data.metrics["miou"] == 0.5
    assert curve(artifacts, second, "train/loss") == [(1, 2.0), (2, 1.5), (3, 1.25)]  # from curve.csv
    assert curve(artifacts, second, "train/val_miou") == [(2, 0.25)]


@pytest.mark.parametrize("change", ["model", "parameter", "deleted"])
def test_eval_opens_a_run_of_its_own_if_the_pending_one_is_of_something_else(artifacts: Artifacts, change: str) -> None:
    params = tiny_run.params()
    with mlflow_run.training(artifacts, params):
        pass
    if change == "model":
        tiny_run.save_segmenter(artifacts, tiny_run.network())
    elif change == "parameter":
        params = replace(params, seed=7)
    else:
        client(artifacts.root).delete_run(runs(artifacts)[0].info.run_id)
    mlflow_run.finish(artifacts, params, METRICS, HEADLINE, [])
    assert [("miou" in run.data.metrics) for run in runs(artifacts)] == [True] if change == "deleted" else [False, True]


def test_a_parameter_of_eval_may_change_between_training_and_eval(artifacts: Artifacts) -> None:
    with mlflow_run.training(artifacts, tiny_run.params()):
        pass
    mlflow_run.finish(artifacts, tiny_run.params(flip=True), METRICS, HEADLINE, [])
    (run,) = runs(artifacts)
    assert run.data.params["eval.flip"] == "true"


def test_a_training_that_was_killed_goes_on_in_its_run(artifacts: Artifacts) -> None:
    params = tiny_run.params()

    def train_until_killed() -> None:
        with mlflow_run.training(artifacts, params) as live:
            live.log(1, loss=3.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_until_killed()
    assert [run.info.status for run in runs(artifacts)] == ["KILLED"]
    with mlflow_run.training(artifacts, params, start_step=1) as live:
        live.log(2, loss=2.0)
    (run,) = runs(artifacts)
    assert run.info.status == "FINISHED"
    assert curve(artifacts, run, "train/loss") == [(1, 3.0), (2, 2.0)]


def test_a_training_that_was_killed_outright_is_marked_when_another_begins(artifacts: Artifacts) -> None:
    with mlflow_run.training(artifacts, tiny_run.params()) as live:
        killed = live.run_id  # a process that is killed leaves its run as it is now
        client(artifacts.root).update_run(killed, status="RUNNING")
        with mlflow_run.training(artifacts, replace(tiny_run.params(), seed=7)):
            assert client(artifacts.root).get_run(killed).info.status == "KILLED"


def test_a_training_from_the_start_is_a_run_of_its_own(artifacts: Artifacts) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), mlflow_run.training(artifacts, tiny_run.params()):
            raise ZeroDivisionError
    assert [run.info.status for run in runs(artifacts)] == ["FAILED", "FAILED"]


# The run of a map network ------------------------------------------------------------------------------------------


MAP_CURVE = "step,curve,value\n1,loss,3.0\n1,lr,0.1\n2,loss,2.0\n2,transfer,1.5\n"


def save_map_curve(artifacts: Artifacts) -> None:
    path = artifacts.metrics_path("cam/curve.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MAP_CURVE)


def test_one_run_has_the_curves_of_both_trainings_and_no_point_twice(artifacts: Artifacts) -> None:
    params = tiny_run.params()
    with mlflow_run.map_training(artifacts, params, "a" * 64) as live:
        live.log(1, loss=3.0, lr=0.1)
        live.log(2, loss=2.0, transfer=1.5)
        opened = live.run_id
    assert [run.info.status for run in runs(artifacts)] == ["FINISHED"]
    save_map_curve(artifacts)
    with mlflow_run.training(artifacts, params) as live:
        live.log(1, loss=0.5)
    mlflow_run.finish(artifacts, params, METRICS, HEADLINE, [])
    (run,) = runs(artifacts)
    assert run.info.run_id == opened
    assert curve(artifacts, run, "cam/loss") == [(1, 3.0), (2, 2.0)]
    assert curve(artifacts, run, "cam/transfer") == [(2, 1.5)]
    assert curve(artifacts, run, "train/loss") == [(1, 0.5)]
    assert run.data.metrics["miou"] == 0.5


def test_the_curve_of_a_map_network_from_the_result_store_comes_from_its_file(artifacts: Artifacts) -> None:
    save_map_curve(artifacts)
    with mlflow_run.training(artifacts, tiny_run.params()):
        pass
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    (run,) = runs(artifacts)
    assert curve(artifacts, run, "cam/loss") == [(1, 3.0), (2, 2.0)]
    assert curve(artifacts, run, "cam/lr") == [(1, 0.1)]
    assert curve(artifacts, run, "cam/transfer") == [(2, 1.5)]


@pytest.mark.parametrize("same", [True, False])
def test_a_map_network_that_was_killed_goes_on_in_its_run_where_it_is_the_same(
    artifacts: Artifacts, same: bool
) -> None:
    params = tiny_run.params()
    points = [(step, 4.0 - step) for step in (1, 2, 3, 4)]

    def train(key: str, steps: int) -> None:
        with mlflow_run.map_training(artifacts, params, key) as live:
            for step, loss in points[:steps]:  # a training that goes on repeats what its checkpoint did not have
                live.log(step, loss=loss)
            if steps < 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("first", 3)
    assert [run.info.status for run in runs(artifacts)] == ["KILLED"]
    train("first" if same else "other", 4)
    found = [curve(artifacts, run, "cam/loss") for run in runs(artifacts)]
    assert found == ([points] if same else [points[:3], points])


def test_a_run_of_other_parameters_is_not_gone_on_with(artifacts: Artifacts) -> None:
    with mlflow_run.map_training(artifacts, tiny_run.params(), "key"):
        pass
    with mlflow_run.training(artifacts, replace(tiny_run.params(), seed=7)):
        pass
    assert len(runs(artifacts)) == 2


def test_a_segmenter_that_goes_on_from_a_checkpoint_repeats_no_point(artifacts: Artifacts) -> None:
    params = tiny_run.params()

    def killed() -> None:
        with mlflow_run.training(artifacts, params) as live:
            for step in (1, 2, 3):
                live.log(step, loss=4.0 - step)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    with mlflow_run.training(artifacts, params, start_step=2) as live:
        for step in (1, 2, 3, 4):
            live.log(step, loss=4.0 - step)
    (run,) = runs(artifacts)
    assert curve(artifacts, run, "train/loss") == [(1, 3.0), (2, 2.0), (3, 1.0), (4, 0.0)]


def test_tags_tell_commit_branch_dirtiness_and_digests(artifacts: Artifacts, git: Any) -> None:  # noqa: ANN401
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    (artifacts.root / "dvc.lock").write_text((artifacts.root / "dvc.lock").read_text().replace("12ab", "56ef"))
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    (artifacts.root / "code.py").write_text("a = 2\n")
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    clean, rerun, edited = [run.data.tags for run in runs(artifacts)]
    assert clean["git.commit"] == clean["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert clean["git.branch"] == "field-trip"
    assert [tags["git.dirty"] for tags in (clean, rerun, edited)] == ["false", "false", "true"]
    assert clean["dvc.cam"] == hashlib.sha256(b'{"data/cams": "12ab.dir"}').hexdigest()[:12]
    assert clean["dvc.cam"] != rerun["dvc.cam"] == edited["dvc.cam"]
    assert not [tag for tag in clean if tag.startswith("dvc.eval")]  # of the run before
    outputs = [artifact(artifacts, run, "dvc_outputs.json") for run in runs(artifacts)]
    assert outputs[:2] == [{"cam": {"data/cams": "12ab.dir"}}, {"cam": {"data/cams": "56ef.dir"}}]
    short = [tag for tag in clean.items() if not tag[0].startswith(("mlflow.", "git.commit"))]
    assert max(len(name) + len(value) for name, value in short) < 50  # what MLflow's page shows of one


def test_a_value_too_long_for_mlflow_begins_there_and_is_whole_in_an_artifact(artifacts: Artifacts) -> None:
    params = tiny_run.params()
    texts = [f"{'many words ' * 900}{end}" for end in "ab"]
    for text in texts:
        language = replace(params.label.language, definitions={"lawn": text, "road": "short"})
        with mlflow_run.training(artifacts, own := replace(params, label=replace(params.label, language=language))):
            pass
        mlflow_run.finish(artifacts, own, METRICS, HEADLINE, [])
    key = "label.language.definitions.lawn"
    found = runs(artifacts)
    assert len(found) == 2
    assert [artifact(artifacts, run, "long_parameters.json") for run in found] == [{key: text} for text in texts]
    first, second = (run.data.params[key] for run in found)
    assert first.startswith("many words many words ")
    assert first.endswith("whole in the artifact long_parameters.json)")
    assert len(first) <= 500
    assert first != second
    assert found[0].data.params["label.language.definitions.road"] == "short"


def test_nothing_is_said_of_long_values_where_there_are_none(artifacts: Artifacts) -> None:
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    (run,) = runs(artifacts)
    assert not {"long_parameters.json", "dvc_outputs.json"} & set(files(artifacts, run, ""))


def test_an_experiment_of_dvc_is_named_after_it(
    artifacts: Artifacts,
    git: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    baseline = git("rev-parse", "HEAD")
    git("checkout", "--quiet", "--detach")
    monkeypatch.setenv("DVC_EXP_NAME", "brave-newt")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", baseline)
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    (run,) = runs(artifacts)
    assert run.info.run_name == run.data.tags["dvc.exp_name"] == "brave-newt"
    assert run.data.tags["git.commit"] == baseline
    assert run.data.tags["git.branch"] == "field-trip"


def test_an_experiment_in_a_temporary_workspace_is_recorded_in_the_real_one(artifacts: Artifacts) -> None:
    inside = artifacts.root / ".dvc" / "tmp" / "exps" / "standalone" / "tmpabc"
    assert project_root(inside) == artifacts.root
    assert default_uri(inside) == f"sqlite:///{artifacts.root}/mlflow.db"
    mlflow_run.finish(tiny_run.make(inside), tiny_run.params(), METRICS, HEADLINE, [])
    assert len(runs(artifacts)) == 1
    assert (artifacts.root / "mlartifacts").is_dir()
    assert not list(inside.glob("ml*"))


def test_a_project_that_was_moved_keeps_its_files_with_it(artifacts: Artifacts, tmp_path: Path) -> None:
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    moved = Artifacts(tmp_path.with_name(f"{tmp_path.name}-moved"))
    tmp_path.rename(moved.root)
    mlflow_run.finish(moved, tiny_run.params(), METRICS, HEADLINE, [])
    assert not tmp_path.exists()
    assert runs(moved)[1].info.artifact_uri.startswith(str(moved.root / "mlartifacts"))


@pytest.mark.parametrize("wrong", ["closed port", "no database", "no such scheme"])
def test_a_store_that_cannot_be_had_is_one_line_within_seconds(
    artifacts: Artifacts, wrong: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (artifacts.root / "folder.db").mkdir()
    uris = {
        "closed port": f"http://somebody:secret@127.0.0.1:{port}",
        "no database": "sqlite:///folder.db",
        "no such scheme": "gopher://nowhere",
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uris[wrong])
    start = time.monotonic()
    with mlflow_run.training(artifacts, tiny_run.params()) as live:
        live.log(1, loss=1.0)
    assert time.monotonic() - start < 60  # by itself MLflow tries for minutes
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("tracking: this run is not logged to MLflow")
    assert "secret" not in lines[0]


def test_an_error_of_the_training_itself_is_not_swallowed(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://nowhere")
    with pytest.raises(ZeroDivisionError), mlflow_run.training(artifacts, tiny_run.params()):
        raise ZeroDivisionError


def test_tracking_can_be_switched_off(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WILDSEG_TRACKING", "off")
    with mlflow_run.training(artifacts, tiny_run.params()) as live:
        live.log(1, loss=1.0)
    with mlflow_run.map_training(artifacts, tiny_run.params(), "key") as live:
        live.log(1, loss=1.0)
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    assert capfd.readouterr() == ("", "")
    assert not (artifacts.root / ".wildseg").exists()


def test_tracking_leaves_the_environment_as_it_was(artifacts: Artifacts) -> None:
    before = dict(os.environ)
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    assert dict(os.environ) == before


def test_options_of_methods_that_were_not_chosen_are_left_out() -> None:
    params = tiny_run.params()
    params = replace(params, extract=replace(params.extract, method="uniform", max_side=None))
    flat = flatten_params(params)
    every_s = params.extract.options["uniform"]["every_s"]
    assert {key: value for key, value in flat.items() if key.startswith("extract.options.")} == {
        "extract.options.uniform.every_s": str(every_s)
    }
    assert flat["extract.max_side"] == "null"
    assert flat["eval.scales"] == "[1.0]"
    assert not [key for key in flatten_params(params, without="eval") if key.startswith("eval.")]


def test_names_that_mlflow_does_not_take_are_changed_and_stay_apart() -> None:
    given = {"s": {"iou.a(b": 1, "iou.a)b": 2.0, "n": None, "m": float("nan")}}
    assert grouped_metrics(given) == {"s/iou.a_b": 1, "s/iou.a_b_2": 2}
    assert unique_name("x" * 400, {}) == "x" * 246


def test_metrics_are_grouped_by_level_and_the_headline_stands_above() -> None:
    given = {
        "miou": 0.5,
        "labels": {"f1": 0.9, "f1.lawn": 0.8},
        "segmenter": {"iou.gravel/dirt": 0.25},  # a slash of a class begins no group
        "unseen": {"cam": {"miou": 0.125}, "labels": {}},
        "train/summary": {"loss": 1.5, "names": ["a"], "flag": None},
        "rounds": {"1": {"miou": 0.75}},
    }
    assert grouped_metrics(given) == {
        "labels/f1": 0.9, "labels/f1.lawn": 0.8, "segmenter/iou.gravel:dirt": 0.25, "cam/held_out/miou": 0.125,
        "train/summary/loss": 1.5, "rounds/1.miou": 0.75,
    }  # fmt: skip
    assert grouped_metrics({**given, "unseen": None})["labels/f1"] == 0.9


def test_numbers_of_all_stages_are_in_groups_and_no_curve_is_touched(artifacts: Artifacts) -> None:
    save_json(artifacts.metrics_path("crf.json"), {"coverage": 0.75, "share": {"lawn": 0.5}})
    save_json(artifacts.metrics_path("train.json"), {"loss": 9.0, "steps": 3})
    save_json(artifacts.metrics_path("headline.json"), {"miou": 0.1})
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    (run,) = runs(artifacts)
    assert {name for name in run.data.metrics if "/" not in name} == {"miou", "recall"}
    assert {"crf/coverage": 0.75, "crf/share.lawn": 0.5, "train/summary/loss": 9.0}.items() <= run.data.metrics.items()
    assert curve(artifacts, run, "train/loss") == [(1, 2.0), (2, 1.5), (3, 1.25)]


def test_a_run_has_a_description_a_data_set_a_source_and_its_report(artifacts: Artifacts) -> None:
    artifacts.save_report("<!DOCTYPE html>")
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    (run,) = runs(artifacts)
    tags = run.data.tags
    assert f"maps by `{tiny_run.params().cam.method}`" in tags["mlflow.note.content"]
    assert "| miou | 0.500 |" in tags["mlflow.note.content"]
    assert "coverage" not in tags["mlflow.note.content"]
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("dvc.yaml", "PROJECT")
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.name == Path(tiny_run.params().extract.source).name
    profile = json.loads(used.dataset.profile)
    assert profile == {"key_frames": 4, "sources": 2, "train": 1, "test": 3}
    assert len(used.dataset.digest) == 32
    assert files(artifacts, run, "report") == ["index.html"]


def test_models_are_registered_and_the_newest_has_an_alias(artifacts: Artifacts) -> None:
    for _ in range(2):
        mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    with mlflow_run.quiet():
        found = client(artifacts.root).get_model_version_by_alias("wildseg-segmenter", "newest")
    assert str(found.version) == "2"
    assert found.run_id == runs(artifacts)[1].info.run_id
    assert found.description == "Ids: 0 `background`, 1 `lawn`, 2 `road`, 3 `sky`"


def test_a_store_that_registers_nothing_costs_one_line_and_keeps_the_run(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(MlflowClient, "create_registered_model", refuse)
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    (run,) = runs(artifacts)
    assert run.info.status == "FINISHED"
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "tracking: the model is logged, but not registered as wildseg-segmenter (read only)"
    assert len(lines) == 2


@pytest.mark.slow
def test_the_newest_model_is_served_over_http(artifacts: Artifacts) -> None:
    """As docs/comparing.md says: the registered model answers pixels with ids, and refuses what is no image."""
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    program = [str(Path(sys.executable).parent / "mlflow"), "models", "serve", "-m", "models:/wildseg-segmenter@newest",
               "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{artifacts.root}/mlflow.db"}
    server = subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True)  # fmt: skip
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.25)
        answer = invoke(port, {"inputs": np.zeros((5, 7, 3), int).tolist()})
        assert answer == {"predictions": [[tiny_run.LAWN] * 7] * 5}
        with pytest.raises(urllib.error.HTTPError) as refused:
            invoke(port, {"inputs": [[1, 2], [3, 4]]})
        assert refused.value.code == 400
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def invoke(port: int, content: dict[str, Any]) -> dict[str, Any]:
    """Send a request to a served model; return its answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def test_reasons_are_one_line_once_say_where_it_began_and_keep_passwords_to_themselves() -> None:
    reason = short_reason(OSError("no\n  answer from https://me:pass@host/api " + "x" * 999 + " so try this"))
    assert reason.startswith("no answer from https://host/api")
    assert reason.endswith("so try this")
    assert len(reason) == 601
    error = OSError("y" * 300)
    error.__cause__ = ConnectionRefusedError("nobody there")
    assert short_reason(error) == "y" * 300 + ": nobody there"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (f"{'Detected out-of-date database schema. ' * 7}Take a backup, then run 'mlflow db upgrade'", None),
        ("API request failed: Connection refused", "Connection refused"),
        ("Connection refused", "the long story: Connection refused"),
    ],
)
def test_a_reason_is_told_once_and_to_its_end(text: str, cause: str | None) -> None:
    error: Exception = RuntimeError(text)
    error.__cause__ = RuntimeError(cause or text)
    assert short_reason(error) == max(text, cause or "", key=len)


def test_a_reason_of_a_server_steers_no_terminal() -> None:
    assert short_reason(OSError("no\x1b[2J \u202eway")) == "no\\x1b[2J \\u202eway"


@pytest.mark.parametrize("folder", ["is it?", "50%20 # more?x=1", "plain"])
def test_a_store_lies_in_its_project_whatever_the_path_holds(folder: str, tmp_path: Path, empty_store: bytes) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "mlflow.db").write_bytes(empty_store)
    artifacts = tiny_run.make(tmp_path / folder)
    mlflow_run.finish(artifacts, tiny_run.params(), METRICS, HEADLINE, [])
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    with closing(sqlite3.connect(tmp_path / folder / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert list((tmp_path / folder / "mlartifacts").rglob("*params*"))


CONNECT = """
import sys, time
from pathlib import Path
from wildseg.tracking.quiet import quiet
from wildseg.tracking.store import connect
with quiet():
    import mlflow, mlflow.store.tracking.sqlalchemy_store  # so that both begin at once
    Path(sys.argv[1], "ready").touch()
    while not Path(sys.argv[1]).parent.joinpath("go").exists():
        time.sleep(0.01)
    store = connect(Path(sys.argv[1]))
    print(store.client.create_run(store.experiment_id).info.run_id)
"""


def test_projects_that_make_one_shared_store_at_once_all_have_their_run(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/shared/mlflow.db"}
    started = [
        subprocess.Popen([sys.executable, "-c", CONNECT, folder], env=environment, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for folder in folders
    ]  # fmt: skip
    while not all((folder / "ready").exists() or one.poll() for folder, one in zip(folders, started, strict=True)):
        time.sleep(0.05)
    (tmp_path / "go").touch()
    answers = [one.communicate() for one in started]
    assert [one.returncode for one in started] == [0, 0], answers
    with closing(sqlite3.connect(tmp_path / "shared" / "mlflow.db")) as database:
        known = {run for (run,) in database.execute("SELECT run_uuid FROM runs")}
    assert known == {out.strip() for out, _ in answers}
