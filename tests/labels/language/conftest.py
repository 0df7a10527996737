"""A server that misbehaves, and questions to ask it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wildseg.labels.language import server
from wildseg.labels.language.messages import ImageInput

GREY = server._data_url(ImageInput.grey())


class Misbehaving:
    """A running server: its address, and what it was asked."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log

    def asked(self, model: str, *, control: bool = False) -> list[dict[str, Any]]:
        """What it was asked, without the questions about a grey picture, or those alone."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        bodies = [body for body in map(json.loads, lines) if body["model"] == model]
        return [body for body in bodies if (GREY in json.dumps(body["messages"])) == control]


@contextmanager
def misbehaving(log: Path) -> Iterator[Misbehaving]:
    program = [sys.executable, str(Path(__file__).with_name("bad_server.py")), str(log)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Misbehaving(f"http://127.0.0.1:{process.stdout.readline().strip()}/v1", log)
        finally:
            process.kill()


@pytest.fixture
def bad_server(tmp_path: Path) -> Iterator[Misbehaving]:
    with misbehaving(tmp_path / "asked.jsonl") as server:
        yield server


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WILDSEG_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.01)
