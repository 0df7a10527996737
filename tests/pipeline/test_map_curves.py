"""What DVC draws of the training of a map network: each of its curves, whatever they are, and nothing without one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import yaml

from tests.pipeline.conftest import ROOT, Project
from wildseg.artifacts.project import Artifacts

TITLE = "Training of the map network"


def project(folder: Path) -> Project:
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
    made = project(tmp_path)
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
