"""`wildseg truth`: what masks hold before anything is measured, and names that are nearly right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages import tiny_run
from tests.stages.tiny_run import rows, truth_of
from wildseg.artifacts.project import Artifacts
from wildseg.cli.truth_check import show
from wildseg.core.errors import DataError
from wildseg.core.images import save_label_image


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return tiny_run.make(tmp_path)


def test_it_shows_the_share_of_each_class(artifacts: Artifacts, capsys: pytest.CaptureFixture[str]) -> None:
    show(tiny_run.params(), artifacts)
    lines = capsys.readouterr().out.splitlines()
    # 48 pixels: sky 8 + 16, lawn 8 + 11, road 1, ignore 4
    assert [line.split() for line in lines[:-1]] == [
        ["1", "lawn", "39.58%"], ["2", "road", "2.08%"], ["3", "sky", "50.00%"], ["255", "ignore", "8.33%"],
    ]  # fmt: skip
    assert lines[-1] == "truth: 3 of 4 key frames have a truth; 0 masks of other frames"


@pytest.mark.parametrize(
    "names",
    [
        ("drive_0.png", "drive_10.png", "other_0.png"),
        ("DRIVE_000000.PNG", "Drive_000010.png", "OTHER_000000.png"),
        ("drive_000000_mask.png", "drive-000010-labelIds.png", "other_000000.jpg.png"),
    ],
)
def test_near_names_are_mended_when_that_is_asked_for(
    names: tuple[str, ...], artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    right = ("drive_000000", "drive_000010", "other_000000")
    before = {name: truth_of(artifacts, name).read_bytes() for name in right}
    for name, near in zip(right, names, strict=True):
        truth_of(artifacts, name).rename(artifacts.root / "data/truth" / near)
    with pytest.raises(DataError, match="expected masks of some of 4 key frames"):
        show(tiny_run.params(), artifacts)
    assert f"found {sorted(names)[0]}" in capsys.readouterr().out
    show(tiny_run.params(), artifacts, rename=True)
    assert "truth: 3 of 4 key frames have a truth" in capsys.readouterr().out
    assert {name: truth_of(artifacts, name).read_bytes() for name in right} == before


def test_nothing_is_renamed_over_another_mask(artifacts: Artifacts) -> None:
    near = artifacts.root / "data/truth/drive_10.png"
    save_label_image(near, rows(1, 1, 1, 1))
    with pytest.raises(DataError, match="expected one mask a frame, found .*drive_000010.png and .*drive_10.png"):
        show(tiny_run.params(), artifacts, rename=True)
    assert near.exists()


def test_numbers_alone_are_left_as_they_are(artifacts: Artifacts) -> None:
    truth_of(artifacts, "drive_000000").rename(artifacts.root / "data/truth/000000.png")
    show(tiny_run.params(), artifacts, rename=True)
    assert (artifacts.root / "data/truth/000000.png").exists()
