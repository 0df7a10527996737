"""The real thing: ``transformers serve`` with a tiny random LLaVA, asked over its OpenAI-compatible interface."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.labels.language.models import OPTIONS, Memory, frames, language, request
from tests.labels.language.tiny_llava import save_llava
from wildseg.core.errors import ModelError
from wildseg.labels.language import server
from wildseg.labels.language.server import ServerModel
from wildseg.methods.labels import vlm_cot, vlm_direct, vlm_yes_no

NEEDED = ("openai", "fastapi", "uvicorn")
pytestmark = pytest.mark.skipif(
    not all(map(find_spec, NEEDED)), reason="transformers serve needs pip install 'transformers[serving]'"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("served") / "llava")


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    program = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", *options]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                    break
                except OSError:
                    assert process.poll() is None, "the server ended"
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def test_every_frame_is_asked_about_and_a_babbling_model_makes_no_labels(served: str, model: Path) -> None:
    memory = Memory()
    speaker = ServerModel(served, str(model), constrained=True, requests=2)
    for method in (vlm_direct, vlm_cot):
        options = OPTIONS[method.__name__.rsplit(".", 1)[-1]]
        models = language(speaker, memory=memory, max_tokens=8)
        found = list(method.label(frames(2), request(models), **options))
        assert [answer.record["parse_errors"] for answer in found] == [1, 1]
        assert not any(answer.scores.any() for answer in found)
        turns = [turn for answer in found for turn in answer.record["turns"]]
        assert all(turn["tokens"][0] > 50 for turn in turns)
        assert all(0 < turn["tokens"][1] <= 16 for turn in turns)
        assert any(turn["answered"] for turn in turns)
    again = ServerModel("http://127.0.0.1:9/v1", str(model), constrained=True)
    models = language(again, memory=memory, max_tokens=8)
    kept = list(vlm_cot.label(frames(2), request(models), **OPTIONS["vlm_cot"]))
    assert [answer.record for answer in kept] == [answer.record for answer in found]


def test_a_server_that_tells_no_likelihoods_is_told(served: str, model: Path) -> None:
    models = language(ServerModel(served, str(model), constrained=True))
    with pytest.raises(ModelError, match="vlm_yes_no needs the likelihoods of words"):
        list(vlm_yes_no.label(frames(1), request(models), **OPTIONS["vlm_yes_no"]))


def test_a_model_that_it_does_not_have_is_told(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ATTEMPTS", 2)
    models = language(ServerModel(served, "no/such-model", constrained=True))
    with pytest.raises(ModelError, match="label.language.server: ") as caught:
        list(vlm_direct.label(frames(1), request(models), **OPTIONS["vlm_direct"]))
    assert "\n" not in str(caught.value)
