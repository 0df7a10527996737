"""What `wildseg cache` prints and removes."""

from __future__ import annotations

from pathlib import Path

import pytest

from wildseg.core.errors import WildsegError
from wildseg.execution import cache_usage, result_store
from wildseg.execution.result_store import Entry, ResultStore


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(result_store.VARIABLE, raising=False)
    for stage, count in (("cam", 3), ("crf", 1)):
        store = ResultStore(tmp_path / ".wildseg" / "cache" / stage)
        for number in range(count):
            store.put(f"{number:064x}", Entry(None, {"file": bytes(1000)}))
    return tmp_path


def test_the_table_shows_frames_and_bytes_of_each_stage(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache_usage.show(root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("cache: 4.4 kB in ")
    assert [line.split()[:4] for line in lines[2:]] == [["cam", "3", "3.3", "kB"], ["crf", "1", "1.1", "kB"]]


def test_pruning_says_what_it_removed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache_usage.show(root, "2.5kB")
    assert capsys.readouterr().out.startswith("cache: removed 2 entries, 2.2 kB\n")
    cache_usage.show(root, "0")
    assert "removed 2 entries" in capsys.readouterr().out
    cache_usage.show(root)
    assert capsys.readouterr().out.startswith("cache: nothing is stored in ")


def test_a_cache_that_is_off_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(result_store.VARIABLE, "off")
    cache_usage.show(root)
    assert capsys.readouterr().out == "cache: WILDSEG_CACHE is off, so nothing is stored\n"


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("123", 123), ("500MB", 500_000_000), ("1.5 gb", 1_500_000_000), (" 2TB ", 2 * 10**12)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert cache_usage.size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "5 PB", "-1", "1e9"])
def test_anything_else_is_told(text: str) -> None:
    with pytest.raises(WildsegError, match="expected a size such as 500MB"):
        cache_usage.size_in_bytes(text)


def test_pruning_leaves_what_the_cache_did_not_write(root: Path) -> None:
    # WILDSEG_CACHE may have been pointed at a folder that holds other things.
    folder = root / ".wildseg" / "cache"
    others = [
        folder / "thesis.txt",
        folder / "photos" / "ab" / "a.jpg",
        folder / "cam" / "ff" / "notes",
        folder / "deep",
    ]
    for path in others[:3]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    others[3].mkdir()
    (folder / "cam" / "00" / f".{1:062x}.4711").write_text("left by a run that was killed")
    cache_usage.show(root, "0")
    assert all(path.exists() for path in others)
    kept = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert sorted(kept) == sorted(others[:3])
