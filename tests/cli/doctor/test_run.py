"""`wildseg doctor` as a command, and what it finds of the installation: versions, device, optional parts, weights."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from wildseg.cli.doctor import devices, extras, models, versions
from wildseg.cli.main import main
from wildseg.core.errors import WildsegError
from wildseg.encoders.downloads import OFFLINE
from wildseg.execution import params
from wildseg.stages import preflight

ROOT = Path(__file__).parents[3]


def test_an_empty_folder_is_one_finding_and_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, ["doctor"])
    assert answer.exit_code == 1
    assert f"stop  {tmp_path} has no dvc.yaml and no params.yaml; run in the folder of dvc.yaml" in answer.output
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_params_yaml_does_not_hide_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text("sead: 0\n")
    answer = CliRunner().invoke(main, ["doctor"])
    assert answer.exit_code == 1
    lines = answer.output.splitlines()
    assert any(line.startswith("stop ") and "sead" in line for line in lines)
    assert any("there is no dvc.lock" in line for line in lines)
    assert lines[-1].startswith("doctor: ")
    assert f"{sum(line.startswith('stop') for line in lines)} findings prevent a run" in lines[-1]


def test_versions_are_those_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    first, *_ = versions.check()
    assert f"torch {torch.__version__.split('+')[0]}" in first.text
    installed = versions.version_of
    monkeypatch.setattr(versions, "version_of", lambda name: None if name == "dvc" else installed(name))
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "git" else name)
    found = [one for one in versions.check() if one.level == "stop"]
    assert [one.text for one in found] == ["dvc is not installed", "there is no program git in PATH"]


def test_every_optional_part_is_listed_with_its_purpose() -> None:
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.PARTS) == set(optional) - {"dev"}
    for extra, (distribution, _) in extras.PARTS.items():
        assert any(line.startswith(distribution) for line in optional[extra])


def test_an_optional_part_that_a_run_needs_prevents_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "version_of", lambda _: None)
    monkeypatch.delenv("WILDSEG_ENGINE", raising=False)
    assert {one.level for one in extras.check()} == {"ok"}
    monkeypatch.setenv("WILDSEG_ENGINE", "ray")
    assert [one.text.split()[0] for one in extras.check("efficientnet-lite0") if one.level == "stop"] == [
        "ray",
        "lite0",
    ]


@pytest.mark.parametrize(
    ("files", "source", "needed"),
    [
        (["drive.mcap"], "drive.mcap", True),
        (["drive.MCAP", "film.mp4"], ".", True),
        (["monday/drive_0.mcap", "monday/metadata.yaml", "film.mp4"], ".", True),
        (["monday/drive_0.mcap", "monday/metadata.yaml"], "monday", True),
        (["monday/drive_0.db3", "monday/metadata.yaml"], ".", False),
        (["film.mp4", "film.mcap.txt"], ".", False),
        ([], "gone", False),
    ],
)
def test_mcap_is_needed_wherever_extract_would_read_it(
    files: list[str], source: str, needed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("rosbag2_bagfile_information:\n")
    monkeypatch.setattr(extras, "version_of", lambda _: None)
    monkeypatch.delenv("WILDSEG_ENGINE", raising=False)
    found = [one.text.split()[0] for one in extras.check(source=tmp_path / source) if one.level == "stop"]
    assert found == (["ros"] if needed else [])


def test_a_driver_without_a_gpu_in_torch_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_DEVICE", "cpu")
    monkeypatch.setenv("WILDSEG_WORKERS", "3")
    (found,) = devices.check(driver=True)
    assert found.text.startswith("computes on cpu with 3 workers")
    monkeypatch.setenv("WILDSEG_WORKERS", "none")
    (found,) = devices.check()
    assert (found.level, "WILDSEG_WORKERS" in found.text) == ("stop", True)


def test_what_the_package_ships_is_a_file() -> None:
    (found,) = models.check(params.load(ROOT / "params.yaml"), ROOT)
    assert found.text == "clip.pretrained: models/tiny_clip/model.safetensors (5.3 MB)"


@pytest.mark.parametrize(
    ("problem", "offline", "level"),
    [
        (None, False, "ok"),
        (f"clip.pretrained could not be fetched: {OFFLINE}", False, "note"),
        (f"clip.pretrained could not be fetched: {OFFLINE}", True, "stop"),
        ("the weights do not fit", False, "stop"),
    ],
)
def test_weights_that_are_not_here_are_no_obstacle(
    problem: str | None, offline: bool, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def checked(name: str, *_: object) -> dict[str, object]:
        import os

        seen.append(os.environ.get("HF_HUB_OFFLINE"))
        if problem:
            raise WildsegError(problem)
        return {}

    monkeypatch.setattr(preflight, "_check_in_process", checked)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(ROOT / "models/tiny_clip", tmp_path / "models/tiny_clip", ignore=shutil.ignore_patterns("*.py"))
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("model: wildseg-tiny ", "model: ViT-B-16 "))
    values = params.load(tmp_path / "params.yaml")
    *_, found = models.check(values, tmp_path)
    assert found.level == level
    assert seen == ["1"]  # nothing may be downloaded
