"""The stage that teaches the tiny CLIP never runs by itself, and the pipeline says nothing of it."""

import hashlib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


TINY_CLIP = "models/tiny_clip/dvc.yaml"


def test_the_tiny_clip_is_only_taught_again_when_someone_asks() -> None:
    declared = yaml.safe_load((ROOT / TINY_CLIP).read_text())["stages"]["tiny_clip"]
    assert declared["frozen"] is True
    assert declared["outs"] == [{"models/tiny_clip/metrics.json": {"cache": False}}]
    recipe = (ROOT / "Makefile").read_text().partition("\ntiny-clip:")[2].partition("\n\n")[0]
    assert [f"dvc {command}" in recipe for command in ("unfreeze", "repro --force", "freeze")] == [True] * 3
    assert f"{TINY_CLIP}:tiny_clip" in recipe


def test_no_stage_of_the_pipeline_follows_one_that_is_frozen() -> None:
    # Else every 'dvc repro' warns of it.
    paths = [path for path in ROOT.glob("**/dvc.yaml") if not {".dvc", ".venv"} & set(path.parts)]
    stages = [stage for path in paths for stage in yaml.safe_load(path.read_text())["stages"].values()]
    frozen = {next(iter(out)) for stage in stages if stage.get("frozen") for out in stage["outs"]}
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    needed = {dep for stage in pipeline.values() for dep in stage["deps"]}
    assert frozen
    assert not frozen & needed


def test_the_weights_in_git_are_those_that_the_pipeline_was_run_with() -> None:
    content = (ROOT / "models/tiny_clip/model.safetensors").read_bytes()
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]["label"]["deps"]
    (known,) = [dep for dep in lock if dep["path"] == "models/tiny_clip/model.safetensors"]
    assert known["md5"] == hashlib.md5(content, usedforsecurity=False).hexdigest()
