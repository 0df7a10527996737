"""Results of single frames: found again, never wrong, and never in the way."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wildseg.core.errors import DataError
from wildseg.execution import cache_usage, frame_task, result_store
from wildseg.execution.engines.local import Workers
from wildseg.execution.frame_task import Cache, Recipe
from wildseg.execution.result_store import Entry, Store

ITEMS = ("a", "b", "c")


@dataclass(frozen=True)
class Settings:
    power: int
    scales: tuple[float, ...] = (1.0,)


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(result_store.VARIABLE, raising=False)


def inputs_of(item: str, root: Path) -> list[bytes]:
    return [(root / "in" / item).read_bytes()]


def files_of(item: str, root: Path) -> dict[str, Path]:
    return {"upper": root / "out" / f"{item}.txt", "size": root / "out" / "sizes" / f"{item}.json"}


def compute(item: str, tools: int, root: Path) -> Entry:
    content = (root / "in" / item).read_bytes()
    with (root / "log").open("a") as log:
        log.write(item)
    if content == b"fatal":
        while len(kept(root)) < len(ITEMS) - 1:  # all others are done, by this worker or another
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    if content == b"bad":
        raise DataError(f"{item} is bad")
    return Entry({"size": len(content)}, {"upper": content.upper(), "size": str(len(content)).encode()})


def kept(root: Path) -> list[Path]:
    return [path for path in (root / ".wildseg/cache/shout").glob("??/[0-9a-f]*") if path.is_file()]


def rank(number: int) -> int:
    return number


def opened(root: Path, **ingredients: object) -> Cache[str]:
    inputs, files, work = (partial(function, root=root) for function in (inputs_of, files_of, compute))
    return Cache(root, "shout", Recipe({"settings": Settings(2), **ingredients}, inputs, files, work))


def serve(opened_cache: Cache[str], items: Iterable[str] = ITEMS, workers: int = 1) -> dict[str, object]:
    return dict(opened_cache.serve(list(items), lambda number: Workers(min(workers, number), rank)))


def computed(root: Path) -> str:
    """Which items were computed since the last call, sorted."""
    log = root / "log"
    text = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    return "".join(sorted(text))


def outputs(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / "out").rglob("*") if path.is_file()}


def clear(root: Path) -> None:
    for path in list((root / "out").rglob("*")):
        if path.is_file():
            path.unlink()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for item in ITEMS:
        (tmp_path / "in" / item).write_text(f"text of {item}")
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_computed_is_restored_byte_by_byte_and_not_computed_again(root: Path, workers: int) -> None:
    records = serve(opened(root), workers=workers)
    before = outputs(root)
    assert computed(root) == "abc"
    clear(root)
    again = opened(root)
    assert serve(again, workers=workers) == records == {item: {"size": 9} for item in ITEMS}
    assert outputs(root) == before
    assert computed(root) == ""
    assert (again.hits, again.misses) == (3, 0)


def test_only_what_is_new_or_changed_is_computed(root: Path) -> None:
    serve(opened(root))
    computed(root)
    (root / "in" / "b").write_text("another text")
    (root / "in" / "d").write_text("new")
    served = serve(opened(root), ["a", "b", "c", "d"])
    assert computed(root) == "bd"
    assert served == {"a": {"size": 9}, "b": {"size": 12}, "c": {"size": 9}, "d": {"size": 3}}
    (root / "in" / "b").write_text("text of b")  # as it was: still known
    serve(opened(root), ["b", "c"])
    assert computed(root) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": Settings(3)},
        {"settings": Settings(2, (1.0, 1.5))},
        {"code": "another"},
        {"model": "other weights"},
    ],
)
def test_every_ingredient_counts(root: Path, changed: dict[str, object]) -> None:
    first = {"code": "one", "model": "weights"}
    serve(opened(root, **first))
    computed(root)
    serve(opened(root, **first))
    assert computed(root) == ""
    serve(opened(root, **{**first, **changed}))
    assert computed(root) == "abc"


@given(damage=st.tuples(st.integers(0, 10_000), st.integers(1, 255)), cut=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_damaged_entry_is_never_believed(
    damage: tuple[int, int], cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    store.put("00aa", Entry([1, 2], {"x": b"content", "y": b""}))
    (path,) = [path for path in store.folder.rglob("*") if path.is_file()]
    content = bytearray(path.read_bytes())
    position = damage[0] % len(content)
    if cut:
        content = content[:position]
    else:
        content[position] ^= damage[1]
    path.write_bytes(content)
    assert store.get("00aa") is None
    assert store.damaged == 1
    assert not path.exists()


def test_a_damaged_entry_is_computed_again(root: Path) -> None:
    serve(opened(root))
    before = outputs(root)
    computed(root)
    store = sorted(path for path in (root / ".wildseg/cache/shout").rglob("*") if path.is_file())
    store[0].write_bytes(store[0].read_bytes()[:-1])
    again = opened(root)
    assert len(serve(again)) == 3
    assert outputs(root) == before
    assert len(computed(root)) == 1
    assert str(again) == ", 2 from the cache (1 damaged ones computed anew)"


def test_what_was_computed_before_a_failure_is_kept(root: Path) -> None:
    (root / "in" / "c").write_text("bad")
    with pytest.raises(DataError, match="c is bad"):
        serve(opened(root))
    assert computed(root) == "abc"
    (root / "in" / "c").write_text("good")
    serve(opened(root))
    assert computed(root) == "c"


def test_what_was_computed_before_a_kill_is_kept(root: Path) -> None:
    (root / "in" / "c").write_text("fatal")
    with pytest.raises(Exception, match="killed"):
        serve(opened(root), workers=2)
    computed(root)
    (root / "in" / "c").write_text("harmless")
    serve(opened(root))
    assert computed(root) == "c"


def test_nothing_is_touched_before_the_workers_are_ready(root: Path) -> None:
    begun = []

    def refuse(number: int) -> Workers[int]:
        raise DataError("no model")

    with pytest.raises(DataError, match="no model"):
        list(opened(root).serve(ITEMS, refuse, lambda: begun.append(1)))
    assert not begun
    serve(opened(root))
    list(opened(root).serve(ITEMS, refuse, lambda: begun.append(1)))  # all kept: no worker is needed
    assert begun == [1]


def test_it_can_be_switched_off_and_moved(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(result_store.VARIABLE, "off")
    for _ in range(2):
        serve(opened(root))
        assert computed(root) == "abc"
    assert not (root / ".wildseg").exists()
    monkeypatch.setenv(result_store.VARIABLE, str(tmp_path / "elsewhere"))
    for expected in ("abc", ""):
        serve(opened(root))
        assert computed(root) == expected
    assert (tmp_path / "elsewhere" / "shout").is_dir()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cache_that_cannot_be_written_to_is_said_once_and_stops_nothing(
    root: Path, workers: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(result_store.VARIABLE, str(root / "file"))  # a file where a folder should be
    (root / "file").write_text("")
    assert len(serve(opened(root), workers=workers)) == 3
    others = Cache(root, "whisper", opened(root).recipe)  # another stage's entries in the same run
    assert len(serve(others, workers=workers)) == 3
    assert len(outputs(root)) == 6
    assert (
        capfd.readouterr().err
        == f"cache: {root / 'file'} cannot be written to (Not a directory); nothing more is stored\n"
    )


def test_a_cache_that_fills_up_is_said_once_and_still_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(opened(root), "a")
    computed(root)
    monkeypatch.setattr(result_store, "atomic", full)
    assert len(serve(opened(root))) == 3
    assert computed(root) == "bc"
    assert capsys.readouterr().err.count("nothing more is stored") == 1


def full(path: Path) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_what_is_kept_is_what_was_computed_whoever_else_writes_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overwritten(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of another run")

    monkeypatch.setattr(frame_task, "save_bytes", overwritten)
    serve(opened(root))
    monkeypatch.undo()
    serve(opened(root))
    assert computed(root) == "abc"  # once
    assert (root / "out" / "a.txt").read_bytes() == b"TEXT OF A"


def test_usage_counts_entries_bytes_and_the_last_run(root: Path) -> None:
    assert cache_usage.usage(root / ".wildseg" / "cache") == []
    serve(opened(root))
    serve(opened(root), ["a"])
    (usage,) = cache_usage.usage(root / ".wildseg" / "cache")
    kept = [path for path in (root / ".wildseg/cache/shout").rglob("*") if path.is_file()]
    assert (usage.stage, usage.entries, usage.hits, usage.misses) == ("shout", 3, 1, 0)
    assert usage.size == sum(path.stat().st_size for path in kept)


def test_pruning_drops_what_was_not_used_for_longest(root: Path) -> None:
    for number, item in enumerate(ITEMS):
        serve(opened(root), [item])
        for path in (root / ".wildseg/cache/shout").rglob("*"):
            if path.is_file() and path.stat().st_mtime > 1e9:
                os.utime(path, (number + 1, number + 1))
    serve(opened(root), ["a"])  # used again
    computed(root)
    folder = root / ".wildseg" / "cache"
    (usage,) = cache_usage.usage(folder)
    assert cache_usage.prune(folder, usage.size) == (0, 0)
    removed, freed = cache_usage.prune(folder, usage.size - 1)
    assert removed == 1
    assert freed > 0
    serve(opened(root))
    assert computed(root) == "b"
    cache_usage.prune(folder, 0)
    assert cache_usage.usage(folder) == []


def test_keys_tell_neighbouring_parts_apart() -> None:
    lists = (["ab", "c"], ["a", "bc"], [b"ab", "c"], ["abc"], [b"abc"], [["ab", "c"]])
    assert len({result_store.key_of(parts) for parts in lists}) == len(lists)


def test_an_entry_holds_json_and_bytes_only() -> None:
    packed = result_store._pack(Entry({"scores": [0.1, 0.25]}, {"maps": b"\x00\x01"}))
    assert json.loads(packed[len(result_store.MAGIC) + 40 :].split(b"\x00")[0])["record"] == {"scores": [0.1, 0.25]}
    with pytest.raises(TypeError):
        result_store._pack(Entry(object()))
