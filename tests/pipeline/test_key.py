"""The key for a language server, after a real run of every stage that follows: on the wire, and in no file or line."""

from __future__ import annotations

import secrets

import pytest

from tests.labels.language.conftest import Misbehaving, bad_server
from tests.pipeline.conftest import Project, stages_run

__all__ = ["bad_server"]
pytestmark = pytest.mark.slow
KEY = f"sk-{secrets.token_hex(20)}"  # in no file of the tests either
WHERE_ONE_MIGHT_BE = (
    "params.yaml", "dvc.lock", "data/labels/answers.jsonl", "data/labels/labels.csv", "data/labels/prompts.json",
    "metrics/label.json", ".wildseg/cache/language/*/*", ".dvc/cache/files/md5/*/*", ".dvc/cache/runs/*/*/*",
    "mlflow.db", "mlartifacts/**/*",
)  # fmt: skip


def test_the_key_is_in_no_output_cache_lock_file_run_or_printed_line(project: Project, bad_server: Misbehaving) -> None:
    def ask(model: str) -> None:
        label = project.params()["label"]
        language = {**label["language"], "model": model, "server": bad_server.url}
        project.change("label", method="vlm_direct", language=language)

    ask("locked")
    printed = project.dvc("repro", "label", expect=255, WILDSEG_API_KEY=KEY)
    assert "it refused the key of the environment; set WILDSEG_API_KEY (HTTP 401: wrong key Bearer ...)" in printed
    ask("good")
    printed += project.dvc("repro", WILDSEG_API_KEY=KEY, WILDSEG_TRACKING="on")
    assert stages_run(printed) == ["label", "label", "cam", "crf", "train", "eval"]
    printed += project.run("wildseg", "cache")
    assert {body["key"] for model in ("locked", "good") for body in bad_server.asked(model)} == {f"Bearer {KEY}"}

    files = {path for path in project.folder.rglob("*") if path.is_file() and path != bad_server.log}
    for pattern in WHERE_ONE_MIGHT_BE:
        assert files & set(project.folder.glob(pattern)), pattern
    assert [str(path) for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in printed
