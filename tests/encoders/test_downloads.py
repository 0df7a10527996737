"""Files of the model hub: fetched with progress, found again without a network, and told in one line where not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests import hub as hubs
from tests.hub import Hub
from wildseg.core import progress
from wildseg.core.errors import ModelError
from wildseg.encoders import downloads
from wildseg.encoders.downloads import hub_file, hub_folder

REPO = "makers/net"


def fetch(names: tuple[str, ...] = ("model.safetensors",), revision: str | None = None) -> Path:
    return hub_file("train.encoder_weights: the weights 'w' of net", REPO, names, revision, "name a local file")


def line_of(hub_or_none: object = None) -> str:
    with pytest.raises(ModelError) as caught:
        fetch()
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_file_is_fetched_once_and_then_found_without_asking(hub: Hub) -> None:
    hub.repositories[REPO] = {"model.safetensors": b"weights"}
    first = fetch()
    assert first.read_bytes() == b"weights"
    asked = len(hub.asked)
    hub.close()
    assert fetch() == first
    assert len(hub.asked) == asked


def test_the_first_of_several_names_that_there_is_is_taken(hub: Hub) -> None:
    hub.repositories[REPO] = {"pytorch_model.bin": b"older", "other": b""}
    assert fetch(("model.safetensors", "pytorch_model.bin")).read_bytes() == b"older"


def test_a_commit_is_asked_for_by_its_name(hub: Hub) -> None:
    hub.repositories[REPO] = {"model.safetensors": b"weights"}
    fetch(revision=hubs.COMMIT)
    assert all(f"/resolve/{hubs.COMMIT}/" in asked for asked in hub.asked)


@pytest.mark.parametrize(
    ("repositories", "reason"),
    [
        ({}, "there is no such repository, or it is private"),
        ({REPO: {"readme": b""}}, "the repository has no such file"),
    ],
)
def test_what_the_hub_does_not_have_is_told(hub: Hub, repositories: dict, reason: str) -> None:
    hub.repositories.update(repositories)
    line = line_of()
    assert line.startswith(
        f"train.encoder_weights: the weights 'w' of net could not be fetched from {hub.address}/{REPO} "
        f"(model.safetensors): {reason}"
    )
    assert (
        f"run 'hf download {REPO} model.safetensors' and copy models--makers--net into {constants.HF_HUB_CACHE}" in line
    )
    assert line.endswith(", or name a local file")


@pytest.mark.parametrize("status", [403, 418])
def test_another_answer_is_told_by_its_number_and_asked_for_once(hub: Hub, status: int) -> None:
    hub.status = status
    assert f": the server answered {status}; " in line_of()
    assert len(hub.asked) == 1


def test_a_server_that_is_busy_is_asked_twice_and_then_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
    hub.status = 503
    assert ": the server answered 503; " in line_of()
    assert len(hub.asked) == 2


def test_a_server_that_does_not_answer_is_given_up(hub: Hub) -> None:
    hub.slow = 3
    hub.repositories[REPO] = {"model.safetensors": b"weights"}
    assert ": no answer within 1 s; " in line_of()
    assert len(hub.asked) == 1


def test_where_nobody_listens_the_system_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hubs.point_to(hubs.nobody(), tmp_path, monkeypatch)
    assert ": connection refused; " in line_of()


def test_a_host_without_a_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hubs.point_to("http://hub.invalid", tmp_path, monkeypatch)
    line = line_of()
    assert "from http://hub.invalid/makers/net" in line
    assert "name" in line.split(": ", 3)[-1]


def test_offline_is_respected_and_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[REPO] = {"model.safetensors": b"weights"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert ": HF_HUB_OFFLINE=1 forbids to ask, and it is not in the cache; " in line_of()
    assert hub.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fetch()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch().read_bytes() == b"weights"


def test_the_hubs_client_says_nothing_beside_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hubs.point_to(hubs.nobody(), tmp_path, monkeypatch)
    with caplog.at_level(logging.WARNING):
        line_of()
    assert caplog.records == []


# Models of several files ---------------------------------------------------------------------------------------------


def test_a_model_is_fetched_with_all_its_parts_and_nothing_else(hub: Hub) -> None:
    index = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    wanted = {"config.json": b"{}", "tokenizer.json": b"{}", "chat_template.jinja": b"", "merges.txt": b"",
              "model.safetensors.index.json": index,
              "model-1.safetensors": b"1", "model-2.safetensors": b"2"}  # fmt: skip
    hub.repositories[REPO] = {**wanted, "pytorch_model.bin": b"", "consolidated.safetensors": b"", "onnx/a.json": b"",
                              "modeling_net.py": b""}  # fmt: skip
    folder = hub_folder("label.language.model: 'makers/net'", REPO)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == wanted
    hub.close()
    assert hub_folder("label.language.model: 'makers/net'", REPO) == folder


def test_a_model_that_was_fetched_in_part_is_completed(hub: Hub) -> None:
    hub.repositories[REPO] = {"config.json": b"{}"}
    with pytest.raises(ModelError, match=r"expected weights as safetensors, makers/net has no model\.safetensors"):
        hub_folder("--model: 'makers/net'", REPO)
    hub.repositories[REPO]["model.safetensors"] = b"1"
    assert (hub_folder("--model: 'makers/net'", REPO) / "model.safetensors").read_bytes() == b"1"


# Progress ------------------------------------------------------------------------------------------------------------


def test_a_large_file_is_told_of_in_lines_where_there_is_no_terminal(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    hub.repositories[REPO] = {"model.safetensors": bytes(25_000_000)}
    fetch()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "makers/net/model.safetensors: download begins, 25.0 MB"
    assert lines[-1].startswith("makers/net/model.safetensors: 25.0/25.0 MB in ")
    assert any("/25.0 MB in" in line and " s left" in line for line in lines[1:-1])


def test_small_files_are_passed_over(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repositories[REPO] = {"model.safetensors": bytes(900_000)}
    fetch()
    assert capsys.readouterr().err == ""


def test_what_a_library_writes_into_a_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "before").write_bytes(bytes(3_000_000))
    with downloads.report_progress("weights of net", tmp_path):
        (tmp_path / "new.partial").write_bytes(bytes(2_000_000))
        downloads.time.sleep(0.8)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "weights of net: download begins"
    assert lines[-1].startswith("weights of net: 2.0 MB in ")


# Reasons -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (type("UnpicklingError", (Exception,), {})("Unsupported global"), downloads.PICKLE),
        (OSError(28, "No space left on device"), "no space left on device"),
        (ValueError("much\n to say " + "word " * 100), "much to say word"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_reason_is_a_few_whole_words(error: Exception, said: str) -> None:
    reason = downloads.reason(error)
    assert reason.startswith(said)
    assert len(reason) <= 160
    assert not reason.endswith("wor ...")
