"""The stage that teaches the tiny CLIP never runs by itself."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_tiny_clip_is_only_taught_again_when_someone_asks() -> None:
    declared = yaml.safe_load((ROOT / "models/tiny_clip/dvc.yaml").read_text())["stages"]["tiny_clip"]
    assert declared["frozen"] is True
    files = ("models/tiny_clip/model.safetensors", "models/tiny_clip/metrics.json")
    assert declared["outs"] == [{file: {"cache": False}} for file in files]
