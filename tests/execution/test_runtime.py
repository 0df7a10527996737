"""Workers and device come from the environment, and a value that means nothing is refused in one line."""

from __future__ import annotations

import os

import pytest
import torch

from wildseg.core.errors import WildsegError
from wildseg.execution.runtime import Runtime, torch_device


def test_without_the_environment_all_usable_cores_and_any_device_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WILDSEG_WORKERS", raising=False)
    monkeypatch.delenv("WILDSEG_DEVICE", raising=False)
    monkeypatch.delenv("WILDSEG_ENGINE", raising=False)
    assert Runtime.from_environment() == Runtime(len(os.sched_getaffinity(0)), "auto")


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_WORKERS", "")
    monkeypatch.setenv("WILDSEG_DEVICE", "")
    monkeypatch.setenv("WILDSEG_ENGINE", "")
    assert Runtime.from_environment() == Runtime(len(os.sched_getaffinity(0)), "auto")


def test_the_environment_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_WORKERS", "7")
    monkeypatch.setenv("WILDSEG_DEVICE", "cuda:1")
    monkeypatch.setenv("WILDSEG_ENGINE", "ray")
    assert Runtime.from_environment() == Runtime(7, "cuda:1", "ray", chosen=True)


def test_an_engine_that_does_not_exist_is_refused_with_the_nearest_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_ENGINE", "rays")
    with pytest.raises(
        WildsegError, match="WILDSEG_ENGINE: expected one of local, ray; found 'rays'; did you mean 'ray'"
    ):
        Runtime.from_environment()


@pytest.mark.parametrize("workers", ["0", "-1", "two", "1.5", " "])
def test_a_number_of_workers_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setenv("WILDSEG_WORKERS", workers)
    with pytest.raises(WildsegError, match="WILDSEG_WORKERS: expected a positive whole number, found"):
        Runtime.from_environment()


def test_auto_takes_a_gpu_where_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == "cpu"


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        WildsegError, match="WILDSEG_DEVICE: expected a GPU for 'cuda', and torch finds none; use 'cpu'"
    ):
        torch_device("cuda")


@pytest.mark.parametrize("name", ["banana", "cpu:x", "gpu", "meta"])
def test_a_device_that_computes_nothing_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(WildsegError, match=f"^WILDSEG_DEVICE: expected auto, cpu or cuda, found '{name}'") as caught:
        torch_device(name)
    assert "\n" not in str(caught.value)


def test_the_processor_is_always_a_device() -> None:
    assert torch_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["mps", "meta", "nonsense", "x" * 2000, "hpu", "xpu", "cpu:" + "9" * 30])
def test_a_device_that_is_not_there_is_one_short_line(name: str) -> None:
    if name in ("mps", "xpu") and getattr(torch, name).is_available():
        torch_device(name)
        return
    with pytest.raises(WildsegError) as caught:
        torch_device(name)
    assert str(caught.value).startswith(f"WILDSEG_DEVICE: expected auto, cpu or cuda, found {name[:40]!r} (")
    assert len(str(caught.value)) < 220
    assert "\n" not in str(caught.value)
