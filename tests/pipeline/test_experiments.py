"""Comparing experiments and sharing data, with real runs of DVC."""

from __future__ import annotations

import csv
import io
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.conftest import Project, stages_run
from wildseg.core.images import save_label_image
from wildseg.metrics.headline import Headline

pytestmark = pytest.mark.slow


def test_a_queued_grid_over_cam_methods_shows_a_row_each(project: Project) -> None:
    # A video and masks of one's own, as README says: known to DVC, and committed, since DVC takes what is only staged
    # back out of git's index after an experiment in the workspace.
    shutil.copytree(project.folder / "data/raw/mini", project.folder / "data/raw/mine")
    write_all_sky(project)
    project.dvc("add", "--quiet", "data/raw/mine", "data/truth/mini")
    project.run("git", "add", "data/raw", "data/truth")
    project.run("git", "commit", "--quiet", "--message", "My video, and my truth")
    own = ("-S", "extract.source=data/raw/mine")
    before = runs_recorded(project)
    project.dvc("exp", "run", "--queue", "-S", "cam.method=hirescam,layercam", "-S", "train.steps=2", *own)
    run_queue(project)
    table = list(csv.DictReader(io.StringIO(project.dvc("exp", "show", "--csv", "--no-pager"))))
    ran = {row["cam.method"]: row for row in table if row["Experiment"]}
    assert set(ran) == {"hirescam", "layercam"}
    for row in ran.values():
        assert row["State"] == "" or row["State"] == "Success"
        assert float(row["miou"]) >= 0
        report = project.run("git", "show", f"{row['rev']}:metrics/eval.json")
        measured = {name for name, value in json.loads(report)["cam"].items() if name.startswith("iou.") and value}
        assert measured == {"iou.sky"}  # by the masks of data/truth/mini, which come before those beside the video
    # Queued runs work in temporary folders, yet their record must stay.
    assert runs_recorded(project) == before + 2


def runs_recorded(project: Project) -> int:
    with closing(sqlite3.connect(project.folder / "mlflow.db")) as database:
        return database.execute("select count(*) from runs").fetchone()[0]


def write_all_sky(project: Project) -> None:
    """Write masks that say sky everywhere, by the number of each key frame."""
    sky = list(project.params()["classes"]).index("sky") + 1
    for path in (project.folder / "data/frames").glob("*.jpg"):
        with Image.open(path) as frame:
            ids = np.full(frame.size[::-1], sky, np.uint8)
        save_label_image(project.folder / f"data/truth/mini/{int(path.stem[-6:])}.png", ids)


def test_an_experiment_of_some_stages_is_saved_in_a_fresh_clone(finished: Project, tmp_path: Path) -> None:
    # Nothing is in its cache but what this run makes: not one output of the commit it starts from.
    clone = Project(tmp_path / "clone", finished.forks)
    finished.run("git", "clone", "--quiet", str(finished.folder), str(clone.folder))
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.org")):
        clone.run("git", "config", key, value)
    shutil.copytree(finished.folder / "data/raw/mini", clone.folder / "data/raw/mine")
    with (clone.folder / "data/raw/.gitignore").open("a") as ignored:
        ignored.write("/mine\n")
    output = clone.dvc("exp", "run", "--name", "first", "-S", "extract.source=data/raw/mine", "extract")
    assert stages_run(output) == ["extract"]
    assert "Ran experiment(s): first" in output
    table = csv.DictReader(io.StringIO(clone.dvc("exp", "show", "--csv", "--no-pager")))
    assert {row["extract.source"] for row in table if row["Experiment"] == "first"} == {"data/raw/mine"}


def run_queue(project: Project) -> None:
    """Run all that is queued, as README says: again where it stands still.

    DVC's worker dies of a message that it finds half-written (kombu's file transport), and ``--run-all`` then waits for
    ever; the next ``--run-all`` starts another worker. One that is at work goes on by itself, and is waited for.
    """
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            project.run("dvc", "exp", "run", "--run-all", timeout=200, WILDSEG_TRACKING="on")
        status = project.dvc("queue", "status")
        while "Running" in status and "0 active, 0 idle" not in status and time.monotonic() < deadline:
            time.sleep(2)
            status = project.dvc("queue", "status")
        if "Queued" not in status and "Running" not in status:
            return
    pytest.fail("expected the queue to be run in 600 s")


def test_metrics_and_plots_are_compared_across_commits(project: Project) -> None:
    output = project.dvc("exp", "run", "-S", "cam.method=hirescam")
    assert stages_run(output) == ["cam", "crf", "train", "eval"]
    assert "hirescam" in project.dvc("exp", "show", "--csv", "--no-pager")
    check_table_of_experiments(project)
    project.commit("Try hirescam")
    changes = json.loads(project.dvc("metrics", "diff", "HEAD~1", "--json"))
    assert set(changes) == {"metrics/headline.json"}
    assert "miou_cam" in changes["metrics/headline.json"]
    project.dvc("plots", "diff", "HEAD~1", "--out", "dvc_plots")
    page = (project.folder / "dvc_plots" / "index.html").read_text()
    for plot in ("Training_loss", "IoU_per_class", "Confusion_of_the_model"):
        assert f"vegaEmbed('#{plot}'" in page
    assert '"rev": "HEAD~1"' in page
    assert "static/HEAD~1_metrics_eval_pictures_mini" in page


def check_table_of_experiments(project: Project) -> None:
    """What one changed method changes fits a terminal of 160 columns, the parameter beside the numbers."""
    table = project.dvc("exp", "show", "--only-changed", "--drop", ".*/", COLUMNS="160").splitlines()
    assert max(map(len, table)) <= 160
    (head,) = (line.split() for line in table if "Experiment" in line)
    assert head[:2] == ["Experiment", "Created"]
    assert "miou_cam" in head
    assert head[-1] == "cam.method"
    assert set(head[2:-1]) <= set(Headline().as_dict())
    assert "…" not in "".join(table)
    # Without --drop, digests of data follow on the right; what stands before them is the same.
    (whole,) = (line for line in project.dvc("exp", "show", "--only-changed").splitlines() if "Experiment" in line)
    assert whole.split()[: len(head)] == head
    assert len(whole.partition("cam.method")[0]) <= 150


def test_results_travel_through_a_folder(project: Project, tmp_path: Path) -> None:
    project.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    push_drop_and_pull(project)


def test_results_travel_through_an_s3_server(project: Project, s3_endpoint: str) -> None:
    import boto3

    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1", **keys).create_bucket(Bucket="wildseg")
    project.dvc("remote", "add", "--default", "store", "s3://wildseg/store")
    project.dvc("remote", "modify", "store", "endpointurl", s3_endpoint)
    project.dvc("remote", "modify", "--local", "store", "access_key_id", "testing")
    project.dvc("remote", "modify", "--local", "store", "secret_access_key", "testing")
    project.dvc("remote", "modify", "store", "region", "us-east-1")
    push_drop_and_pull(project)


def push_drop_and_pull(project: Project) -> None:
    """Push, lose every local copy, pull, and find the same bytes and nothing to do."""
    project.dvc("push")
    mask = next((project.folder / "data/masks").glob("*.png"))
    before = mask.read_bytes()
    shutil.rmtree(project.folder / ".dvc" / "cache")
    for output in ("data/frames", "data/cams", "data/masks", "models/segmenter"):
        shutil.rmtree(project.folder / output)
    project.dvc("pull")
    assert mask.read_bytes() == before
    assert stages_run(project.dvc("repro")) == []


@pytest.fixture
def s3_endpoint() -> Iterator[str]:
    """An S3 server on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    endpoint = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(endpoint, timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield endpoint
    finally:
        server.terminate()
        server.wait(timeout=20)
