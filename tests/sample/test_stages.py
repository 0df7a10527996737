"""The two stages beside the pipeline, of the rendered world and of the tiny CLIP, name what they import."""

from pathlib import Path

import pytest
import yaml

from wildseg import source

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "stage", "module"),
    [
        ("data/raw/dvc.yaml", "world", "sample/drive.py"),
        ("models/tiny_clip/dvc.yaml", "tiny_clip", "sample/tiny_clip/train.py"),
    ],
)
def test_a_stage_names_exactly_the_source_files_it_imports(file: str, stage: str, module: str) -> None:
    declared = yaml.safe_load((ROOT / file).read_text())["stages"][stage]
    named = {dep for dep in declared["deps"] if dep.startswith("src/")}
    assert named == {str(path.relative_to(ROOT)) for path in source.closure(source.PACKAGE / module).files}


def test_the_tiny_clip_is_only_taught_again_when_someone_asks() -> None:
    declared = yaml.safe_load((ROOT / "models/tiny_clip/dvc.yaml").read_text())["stages"]["tiny_clip"]
    assert declared["frozen"] is True
    assert declared["outs"] == [{"models/tiny_clip/model.safetensors": {"cache": False}}]
