"""Masks of later rounds: loose or in shards, beside a model that is deployed without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError

MASKS = {name: np.full((2, 3), id_, np.uint8) for name, id_ in (("a", 1), ("b", 255), ("c", 0))}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    made = Artifacts(tmp_path)
    for number in (2, 10):
        for name, mask in MASKS.items():
            made.save_round_mask(number, name, mask)
    return made


@pytest.mark.parametrize("packed", [False, True])
def test_masks_are_read_as_they_were_written_loose_and_packed(artifacts: Artifacts, packed: bool) -> None:
    if packed:
        artifacts.pack_round_masks(10)
        assert {path.suffix for path in (artifacts.rounds_folder / "10").iterdir()} == {".zip"}
    assert artifacts.rounds_of_masks() == [2, 10]
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(artifacts.load_round_mask(10, name), mask)
        assert artifacts.was_relabelled(name)
    assert not artifacts.was_relabelled("d")
    with pytest.raises(DataError, match="run 'dvc repro train'"):
        artifacts.load_round_mask(10, "d")


def test_a_frame_outside_of_the_round_has_another_mask(artifacts: Artifacts) -> None:
    other = np.zeros((1, 1), np.uint8)
    assert artifacts.mask_of_round(2, {"a"}, lambda _: other, "b") is other
    np.testing.assert_array_equal(artifacts.mask_of_round(2, {"a"}, lambda _: other, "a"), MASKS["a"])


def test_what_is_deployed_is_the_model_alone(artifacts: Artifacts) -> None:
    for name in ("config.json", "model.safetensors"):
        (artifacts.segmenter_folder / name).write_text(name)
    with artifacts.model_alone() as folder:
        assert folder.name == "segmenter"
        assert sorted(path.name for path in folder.rglob("*")) == ["config.json", "model.safetensors"]
    assert not folder.exists()
    assert artifacts.rounds_of_masks() == [2, 10]


def test_without_rounds_it_is_the_folder_itself(tmp_path: Path) -> None:
    made = Artifacts(tmp_path)
    assert made.rounds_of_masks() == []
    with made.model_alone() as folder:
        assert folder == made.segmenter_folder
