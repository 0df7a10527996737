"""A CAM method that trains a network, by real DVC: one run of MLflow in spite of a kill, and its curves in a plot."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import time
from collections import defaultdict
from contextlib import closing, suppress
from pathlib import Path

import psutil
import yaml

from tests.pipeline import processes
from tests.pipeline.conftest import ROOT, Project, stages_run
from wildseg.artifacts.project import Artifacts

# Some hundred steps of a few milliseconds.
SMALL = {
    "encoder": "tu-test_resnet", "stride": 16, "map": "cam", "crop": 64, "size": [64, 96], "batch_size": 2,
    "epochs": 60,
}  # fmt: skip


def points(database: Path) -> dict[str, dict[str, list[int]]]:
    """Return the steps of each curve of each run, in the order in which they were sent."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    with closing(sqlite3.connect(database)) as store:
        for run, curve, step in store.execute("SELECT run_uuid, key, step FROM metrics ORDER BY timestamp, step"):
            found[run][curve].append(step)
    return found


def test_a_run_that_was_killed_in_the_training_of_its_map_network_is_one_run_of_mlflow(
    project: Project, tmp_path: Path
) -> None:
    options = {**project.params()["cam"]["options"], "classifier": SMALL}
    project.change("cam", method="classifier", options=options)
    (project.folder / "mlflow.db").unlink()
    curve = project.folder / "metrics" / "cam" / "curve.csv"
    log = tmp_path / "log"
    alone = {**project.forked(), "WILDSEG_WORKERS": "1"}  # a worker would import PyTorch for half of seven frames
    process = processes.start(project, log, "dvc", "repro", WILDSEG_TRACKING="on", **alone)
    while len(curve.read_text().splitlines() if curve.exists() else ()) < 20:
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    for one in processes.of(project):
        with suppress(psutil.NoSuchProcess):
            one.kill()
    assert processes.left_after([process], project) == []

    output = project.dvc("repro", WILDSEG_TRACKING="on")
    assert stages_run(output) == ["cam", "crf", "train", "eval"]
    (curves,) = points(project.folder / "mlflow.db").values()
    rows = [line.split(",") for line in curve.read_text().splitlines()[1:]]
    assert curves["cam/loss"] == [int(step) for step, name, _ in rows if name == "loss"]
    assert curves["train/loss"] == [1, 2, 3, 4]
    assert curves["miou"] == [0]


# The plot ------------------------------------------------------------------------------------------------------------

TITLE = "Training of the map network"


def project_of_the_plot(folder: Path) -> Project:
    """A folder with the plot of dvc.yaml, its template, and nothing else."""
    made = Project(folder)
    made.run("git", "init", "--quiet")
    made.run("git", "config", "user.name", "A Tester")
    made.run("git", "config", "user.email", "tester@example.org")
    made.dvc("init", "--quiet")
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"plots": [plot for plot in plots if TITLE in plot]}))
    return made


def drawn(page: Path) -> dict:
    """The specification of the page's one plot."""
    found = re.search(r"var spec = (\{.*\});$", page.read_text(), re.MULTILINE)
    assert found is not None
    return json.loads(found[1])


def test_each_curve_of_each_method_is_a_panel_and_a_training_free_one_has_none(tmp_path: Path) -> None:
    made = project_of_the_plot(tmp_path)
    artifacts = Artifacts(tmp_path)
    artifacts.save_map_network_curve([(1, {"loss": 2.0, "lr": 0.1}), (2, {"loss": 1.0, "lr": 0.05, "area": 0.25})])
    made.commit("CLIMS")
    artifacts.save_map_network_curve([(1, {"loss": 3.0, "lr": 0.1, "transfer": 2.5})])
    made.dvc("plots", "diff", "HEAD", "--out", "both")
    spec = drawn(tmp_path / "both" / "index.html")
    assert spec["facet"]["field"] == "curve"
    points = {(row["rev"], row["curve"], row["step"]): float(row["value"]) for row in spec["data"]["values"]}
    assert points == {
        ("HEAD", "loss", "1"): 2.0, ("HEAD", "lr", "1"): 0.1, ("HEAD", "loss", "2"): 1.0, ("HEAD", "lr", "2"): 0.05,
        ("HEAD", "area", "2"): 0.25, ("workspace", "loss", "1"): 3.0, ("workspace", "lr", "1"): 0.1,
        ("workspace", "transfer", "1"): 2.5,
    }  # fmt: skip
    assert spec["spec"]["encoding"]["color"]["scale"]["domain"] == ["workspace", "HEAD"]

    artifacts.save_map_network_curve([])
    made.dvc("plots", "show", "--out", "none")
    assert drawn(tmp_path / "none" / "index.html") == {}  # DVC's own page for a table without rows: an empty place
