"""A source whose bytes are known is not decoded again, and leaves what it left before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.frames.clips import numbered, write_clip
from tests.stages.test_extract import run
from wildseg import cache, selection
from wildseg.artifacts import Artifacts


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """Two videos, one of them with a twin of the other's frames, photos, and a photo that is broken."""
    monkeypatch.delenv(cache.VARIABLE)
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    write_clip(raw / "north.mp4", 12, rate=10)
    write_clip(raw / "south.mp4", 8, rate=10)
    for number in range(12):
        Image.fromarray(numbered(100 + number)).save(raw / f"img_{number:02d}.png")
    (raw / "img_99.png").write_bytes(b"no picture")
    return Artifacts(tmp_path)


def files(artifacts: Artifacts) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in artifacts.frames_folder.iterdir()}
    return found | {"metrics": artifacts.metrics_path("extract.json").read_bytes()}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of sources that were read, as it happens."""
    names: list[str] = []
    read = selection.read

    def watched(source: Any, *arguments: Any) -> Any:  # noqa: ANN401
        names.append(source.name)
        return read(source, *arguments)

    monkeypatch.setattr(selection, "read", watched)
    return names


def test_known_sources_are_not_decoded_and_leave_the_same_bytes(
    project: Artifacts, decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, duplicate_bits=2)
    before = files(project)
    assert decoded == ["raw", "north", "south"]
    assert "cache" not in capsys.readouterr().out
    run(project, duplicate_bits=2)
    assert files(project) == before
    assert decoded == ["raw", "north", "south"]
    assert capsys.readouterr().out.endswith("1 quarantined, 3 of 3 sources from the cache\n")


def test_only_a_new_source_is_decoded(project: Artifacts, decoded: list[str]) -> None:
    run(project)
    decoded.clear()
    write_clip(project.data / "raw" / "west.mp4", 6, rate=10)
    run(project)
    assert decoded == ["west"]
    assert sum(name.startswith("west_") for name in files(project)) == 6


def test_what_comes_after_the_choice_costs_no_decoding(project: Artifacts, decoded: list[str]) -> None:
    every = run(project)["kept"]
    decoded.clear()
    fewer = run(project, duplicate_bits=2, test=0.4, stretch_s=0.5, held_out=("south",))["kept"]
    assert decoded == []
    assert fewer < every  # south shows what north shows
    run(project, max_side=32)
    assert decoded == ["raw", "north", "south"]


def test_a_damaged_entry_means_that_its_source_is_decoded_again(project: Artifacts, decoded: list[str]) -> None:
    run(project)
    before = files(project)
    decoded.clear()
    entries = (path for path in (project.root / ".wildseg/cache/extract").rglob("*") if path.is_file())
    largest = max(entries, key=lambda path: path.stat().st_size)  # a photo of the folder, or a frame
    largest.write_bytes(largest.read_bytes()[:-1])
    run(project)
    assert len(decoded) == 1
    assert files(project) == before
