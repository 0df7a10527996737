"""Ctrl-C while a language server lets everybody wait: at once, in one line, and what was answered is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.labels.language.conftest import Misbehaving
from tests.programs import SOURCE, wildseg
from tests.stages import tiny_run

PATIENCE = 20  # seconds; the server would take ten minutes, and its pauses minutes more


def project(folder: Path, url: str, model: str) -> Path:
    """A project whose labels a server is asked for."""
    tiny_run.make(folder)
    content = yaml.safe_load((tiny_run.ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["classes"] = {"lawn": ["lawn"], "road": ["road"], "sky": ["sky"]}
    content["label"]["method"] = "vlm_direct"
    content["label"]["language"] |= {"model": model, "server": url}
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("model", "requests"),
    [("hangs:2", "2"), ("later:2", "2"), ("hangs:0", "4"), ("later:1", "1"), ("good", "1")],
    ids=["an answer that never comes", "a long pause", "nothing answered", "one at a time", "a slow pace"],
)
def test_ctrl_c_stops_at_once_and_keeps_what_was_answered(
    model: str, requests: str, bad_server: Misbehaving, tmp_path: Path
) -> None:
    folder = project(tmp_path / "project", bad_server.url, model)
    kept = int(model.partition(":")[2] or 1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WILDSEG_")}
    environment |= {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "WILDSEG_REQUESTS": requests}
    if model == "good":
        environment["WILDSEG_REQUESTS_PER_MINUTE"] = "1"
    process = subprocess.Popen(
        [sys.executable, "-m", "wildseg.cli", "label"], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    answers = folder / ".wildseg" / "cache" / "language"
    waits = kept if model == "good" else kept + 1
    while (len(bad_server.asked(model)) < waits or len(list(answers.glob("*/*"))) < kept) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in output + errors
    assert errors.splitlines()[-1].startswith("wildseg: stopped by Ctrl-C")
    assert len(list(answers.glob("*/*"))) == kept


def test_what_a_server_says_steers_no_terminal(bad_server: Misbehaving, tmp_path: Path) -> None:
    folder = project(tmp_path / "project", bad_server.url, "rude")
    answer = wildseg("label", cwd=folder)
    assert answer.code == 1
    said = answer.output + answer.errors + "".join(
        path.read_text(encoding="utf-8") for path in folder.rglob("quarantine.csv")
    )  # fmt: skip
    assert r"no\x1b[2J\x07 \u202ereverse and a second line" in said
    assert not set(said) & set("\x1b\x07\r\u202e")
