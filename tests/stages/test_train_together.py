"""`wildseg train` as two processes, started as `dvc repro` would start it: killed, continued, and as good as one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

from tests.programs import SOURCE, wildseg
from tests.stages.test_train import CPU, content, make, outputs, values
from wildseg.artifacts.project import Artifacts
from wildseg.cli.main import main
from wildseg.core.errors import WildsegError
from wildseg.core.files import load_json
from wildseg.core.tables import load_table
from wildseg.execution import launcher
from wildseg.stages.train import stage as train
from wildseg.training import distributed

LAUNCH = (f"{sys.executable} -m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 "
          "--mixed_precision no --main_process_port 0 --dynamo_backend no")  # fmt: skip
SETTINGS = {"encoder": "resnet18", "steps": 40, "batch_size": 3, "checkpoint_every": 2, "crop": 24}
VARIABLES = {"WILDSEG_LAUNCH": LAUNCH, "WILDSEG_DEVICE": "cpu", "WILDSEG_TRACKING": "off"}
# AdamW makes whole steps of gradients that are nothing but rounding. First weights that differ by one part in ten
# million end as far apart, in one process: 0.006 in the loss, 0.02 to 0.05 in the mIoU of this one validation frame of
# 540 pixels on the way, and less where it ends.
LOSS, MIOU = 0.03, 0.15


def project(root: Path, **settings: object) -> Artifacts:
    artifacts = make(root)
    text = yaml.safe_dump(content(**{**SETTINGS, **settings}), sort_keys=False)
    (root / "params.yaml").write_text(text, encoding="utf-8")
    return artifacts


def curve(artifacts: Artifacts, column: str) -> list[float]:
    rows = load_table(artifacts.metrics_path("train/curve.csv"), ("step", "loss", "lr", "val_miou"))
    return [float(row[column]) for row in rows if row[column]]


def test_two_processes_that_were_killed_go_on_and_end_where_one_does(tmp_path: Path) -> None:
    alone = project(tmp_path / "alone")
    train.run(values(**SETTINGS), alone, CPU)

    pair = project(tmp_path / "pair")
    environment = {**os.environ, **VARIABLES, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "wildseg.cli", "train"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=pair.root, env=environment, stdout=said, stderr=said)
        try:
            deadline = time.monotonic() + 200
            while not list(pair.root.glob(".wildseg/train/*/state.safetensors")):
                assert time.monotonic() < deadline
                assert process.poll() is None, (tmp_path / "said").read_text()
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    # Only the launcher was killed: what it had started notices that it is gone.
    assert not (pair.segmenter_folder / "model.safetensors").exists()

    answer = wildseg("train", cwd=pair.root, **VARIABLES)
    assert answer.code == 0, answer
    assert answer.output.count("train: goes on from step") == 1, answer
    assert answer.output.count("train: 3 frames, best val mIoU") == 1, answer  # one process prints
    assert not list((pair.root / ".wildseg" / "train").iterdir())

    assert outputs(pair).keys() == outputs(alone).keys()
    one, two = (load_json(artifacts.metrics_path("train.json")) for artifacts in (alone, pair))
    assert one.keys() == two.keys()
    assert {key: two[key] for key in one if key.startswith("frames")} == {
        key: one[key] for key in one if key.startswith("frames")
    }
    assert curve(pair, "loss")[:4] == pytest.approx(curve(alone, "loss")[:4], abs=1e-3)
    assert curve(pair, "loss") == pytest.approx(curve(alone, "loss"), abs=LOSS)
    assert curve(pair, "val_miou") == pytest.approx(curve(alone, "val_miou"), abs=MIOU)
    assert two["val_miou"] == pytest.approx(one["val_miou"], abs=MIOU / 3)
    first, second = (load_file(artifacts.segmenter_folder / "model.safetensors") for artifacts in (alone, pair))
    assert first.keys() == second.keys()


def test_one_process_of_a_launcher_writes_the_bytes_of_none(tmp_path: Path) -> None:
    alone, launched = (project(tmp_path / name, steps=4) for name in ("alone", "launched"))
    train.run(values(**{**SETTINGS, "steps": 4}), alone, CPU)
    one = LAUNCH.replace("--multi_gpu --num_processes 2", "--num_processes 1 --cpu")
    answer = wildseg("train", cwd=launched.root, **{**VARIABLES, "WILDSEG_LAUNCH": one})
    assert answer.code == 0, answer
    assert outputs(launched) == outputs(alone)


def test_fewer_images_than_processes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "one_of_several", lambda: True)
    monkeypatch.setattr(distributed, "connect", lambda device: distributed.DistributedContext(0, 4, 4, device))
    with pytest.raises(WildsegError, match="train.batch_size: expected at least one image for each of 4 processes, fo"):
        train.run(values(**SETTINGS), make(tmp_path), CPU)


@pytest.mark.parametrize(
    ("launcher", "line"),
    [
        ("no-such-launcher --now", "WILDSEG_LAUNCH: expected a launcher .* found no program 'no-such-launcher'"),
        ("accelerate 'launch", "WILDSEG_LAUNCH: expected a command line, found .*No closing quotation"),
    ],
)
def test_a_launcher_that_cannot_be_started_is_one_line(tmp_path: Path, launcher: str, line: str) -> None:
    project(tmp_path)
    answer = wildseg("train", cwd=tmp_path, **{**VARIABLES, "WILDSEG_LAUNCH": launcher})
    assert answer.code == 1
    assert re.search(line, answer.errors), answer
    assert len(answer.errors.splitlines()) == 1, answer


def test_without_accelerate_there_is_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "WILDSEG_DEVICE": "cpu"}.items():
        monkeypatch.setenv(name, value)
    answer = CliRunner().invoke(main, ["train"])
    assert answer.exit_code == 1
    assert "pip install 'wildseg[accelerate]'" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
