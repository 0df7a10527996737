"""Results of single frames: found again, never wrong, and never in the way."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from wildseg.core.errors import DataError
from wildseg.execution import cache_usage, frame_task, result_store
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry, ResultStore
from wildseg.execution.run_frames import Results, run_frames
from wildseg.execution.runtime import Runtime

ITEMS = ("a", "b", "c")


@dataclass(frozen=True)
class Settings:
    power: int
    scales: tuple[float, ...] = (1.0,)


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(result_store.VARIABLE, raising=False)


@dataclass
class Shout(FrameTask[str]):
    """Texts in capitals, and how long they are; a text may say how computing it goes wrong."""

    settings: Settings = Settings(2)
    more: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None

    stage = "shout"

    def depends_on(self) -> Mapping[str, Any]:
        return {"settings": self.settings, **self.more}

    def code(self) -> str:
        return "the code of this task"

    def inputs(self, item: str) -> list[bytes]:
        return [self.content(item)]

    def outputs(self, item: str) -> dict[str, Path]:
        return {"upper": self.root / "out" / f"{item}.txt", "size": self.root / "out" / "sizes" / f"{item}.json"}

    def empty_outputs(self) -> None:
        self.write("emptied", "1")

    def pack(self, frames: Sequence[str]) -> None:
        self.write("packed", ",".join(frames))

    def setup(self, device: str) -> Sequence[str]:
        if (self.root / "no model").exists():
            raise DataError("no model")
        self.model = device
        return ["a remark"]

    def compute(self, item: str) -> Entry:
        assert self.model == "cpu"
        content = self.content(item)
        self.write("log", item)
        if content == b"fatal":
            while len(stored(self.root)) < len(ITEMS) - 1:  # all others are done, by this worker or another
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        if content == b"bad":
            raise DataError(f"{item} is bad")
        return Entry({"size": len(content)}, {"upper": content.upper(), "size": str(len(content)).encode()})

    def compute_batch(self, items: Sequence[str]) -> Sequence[Entry | DataError]:
        self.write("batches", f"{len(items)} ")
        return super().compute_batch(items)

    def content(self, item: str) -> bytes:
        return (self.root / "in" / item).read_bytes()

    def write(self, name: str, text: str) -> None:
        with (self.root / name).open("a") as log:
            log.write(text)


@dataclass
class Whisper(Shout):
    """The same results, as another stage."""

    stage = "whisper"


@dataclass
class ShoutInBatches(Shout):
    """The same results on a GPU, several items at a time."""

    uses_model = True
    batch_size = 2


def stored(root: Path) -> list[Path]:
    return [path for path in (root / ".wildseg/cache/shout").glob("??/[0-9a-f]*") if path.is_file()]


def cpu(workers: int) -> Runtime:
    return Runtime(workers, "cpu")


def run(root: Path, items: Iterable[str] = ITEMS, workers: int = 1, **more: object) -> Results:
    return run_frames(Shout(root, more=more), list(items), cpu(workers))


def computed(root: Path) -> str:
    """Which items were computed since the last call, sorted."""
    log = root / "log"
    text = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    return "".join(sorted(text))


def outputs(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / "out").rglob("*") if path.is_file()}


def expected_outputs(root: Path) -> dict[str, bytes]:
    texts = {item: (root / "in" / item).read_bytes() for item in ITEMS}
    upper = {f"out/{item}.txt": text.upper() for item, text in texts.items()}
    return upper | {f"out/sizes/{item}.json": str(len(text)).encode() for item, text in texts.items()}


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
    first = run(root, workers=workers)
    before = outputs(root)
    assert computed(root) == "abc"
    clear(root)
    again = run(root, workers=workers)
    assert again.records == first.records == {item: {"size": 9} for item in ITEMS}
    assert outputs(root) == before == expected_outputs(root)
    assert computed(root) == ""
    assert (first.cached, first.computed, again.cached, again.computed) == (0, 3, 3, 0)


def test_only_what_is_new_or_changed_is_computed(root: Path) -> None:
    run(root)
    computed(root)
    (root / "in" / "b").write_text("another text")
    (root / "in" / "d").write_text("new")
    results = run(root, ["a", "b", "c", "d"])
    assert computed(root) == "bd"
    assert results.frames == ["a", "b", "c", "d"]
    assert results.records == {"a": {"size": 9}, "b": {"size": 12}, "c": {"size": 9}, "d": {"size": 3}}
    (root / "in" / "b").write_text("text of b")  # as it was: still known
    run(root, ["b", "c"])
    assert computed(root) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"scales": Settings(3)},
        {"scales": Settings(2, (1.0, 1.5))},
        {"code": "another"},
        {"model": "other weights"},
    ],
)
def test_every_ingredient_counts(root: Path, changed: dict[str, object]) -> None:
    first = {"code": "one", "model": "weights", "scales": Settings(2)}
    run(root, **first)
    computed(root)
    run(root, **first)
    assert computed(root) == ""
    run(root, **{**first, **changed})
    assert computed(root) == "abc"


@given(damage=st.tuples(st.integers(0, 10_000), st.integers(1, 255)), cut=st.booleans())
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_damaged_entry_is_never_believed(
    damage: tuple[int, int], cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = ResultStore(tmp_path_factory.mktemp("store"))
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
    run(root)
    before = outputs(root)
    computed(root)
    store = sorted(path for path in (root / ".wildseg/cache/shout").rglob("*") if path.is_file())
    store[0].write_bytes(store[0].read_bytes()[:-1])
    again = run(root)
    assert len(again.records) == 3
    assert outputs(root) == before
    assert len(computed(root)) == 1
    assert str(again) == ", 2 from the cache (1 damaged ones computed anew)"


def test_what_was_computed_before_a_failure_is_kept(root: Path) -> None:
    (root / "in" / "c").write_text("bad")
    with pytest.raises(DataError, match="c is bad"):
        run(root)
    assert computed(root) == "abc"
    (root / "in" / "c").write_text("good")
    run(root)
    assert computed(root) == "c"


def test_what_was_computed_before_a_kill_is_kept(root: Path) -> None:
    (root / "in" / "c").write_text("fatal")
    with pytest.raises(Exception, match="killed"):
        run(root, workers=2)
    computed(root)
    (root / "in" / "c").write_text("harmless")
    run(root)
    assert computed(root) == "c"


def test_nothing_is_touched_before_the_workers_are_ready(root: Path) -> None:
    (root / "no model").touch()
    with pytest.raises(DataError, match="no model"):
        run(root)
    assert not (root / "emptied").exists()
    (root / "no model").unlink()
    run(root)
    (root / "no model").touch()
    run(root)  # all are stored: no worker is needed
    assert (root / "emptied").read_text() == "11"


def test_it_can_be_switched_off_and_moved(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(result_store.VARIABLE, "off")
    for _ in range(2):
        run(root)
        assert computed(root) == "abc"
    assert not (root / ".wildseg").exists()
    monkeypatch.setenv(result_store.VARIABLE, str(tmp_path / "elsewhere"))
    for expected in ("abc", ""):
        run(root)
        assert computed(root) == expected
    assert (tmp_path / "elsewhere" / "shout").is_dir()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cache_that_cannot_be_written_to_is_said_once_and_stops_nothing(
    root: Path, workers: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(result_store.VARIABLE, str(root / "file"))  # a file where a folder should be
    (root / "file").write_text("")
    assert len(run(root, workers=workers).records) == 3
    others = run_frames(Whisper(root), ITEMS, cpu(workers))  # another stage's entries in the same run
    assert len(others.records) == 3
    assert len(outputs(root)) == 6
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("cache")]
    assert said == [f"cache: {root / 'file'} cannot be written to (Not a directory); nothing more is stored"]


def test_a_cache_that_fills_up_is_said_once_and_still_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(root, "a")
    computed(root)
    monkeypatch.setattr(result_store, "atomic", full)
    assert len(run(root).records) == 3
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
    run(root)
    monkeypatch.undo()
    run(root)
    assert computed(root) == "abc"  # once
    assert (root / "out" / "a.txt").read_bytes() == b"TEXT OF A"


def test_any_history_of_edits_and_runs_computes_what_was_never_seen_and_nothing_else(root: Path) -> None:
    rng = random.Random(3)
    seen: set[str] = set()
    for _ in range(30):
        (root / "in" / rng.choice(ITEMS)).write_text(rng.choice(["one", "three", "seven", "eleven"]))
        items = rng.sample(ITEMS, rng.randint(1, len(ITEMS)))
        texts = {item: (root / "in" / item).read_text() for item in items}
        results = run(root, items)
        # Items of one text share an entry; of two in one run, both were absent when it began.
        assert computed(root) == "".join(sorted(item for item, text in texts.items() if text not in seen))
        seen |= set(texts.values())
        assert results.records == {item: {"size": len(text)} for item, text in texts.items()}
        assert {item: outputs(root)[f"out/{item}.txt"] for item in items} == {
            item: text.upper().encode() for item, text in texts.items()
        }


def test_an_entry_of_other_files_is_computed_again(root: Path) -> None:
    run(root)
    computed(root)
    (path,) = [path for path in stored(root) if b"TEXT OF B" in path.read_bytes()]
    ResultStore(root / ".wildseg/cache/shout").put(
        path.parent.name + path.name, Entry({"size": 9}, {"upper": b"TEXT OF B"})
    )
    assert run(root).cached == 2
    assert computed(root) == "b"
    assert outputs(root) == expected_outputs(root)


def test_records_are_collected_as_soon_as_files_are_there_the_stored_ones_first(root: Path) -> None:
    run(root, ["b"])
    taken = []

    def take(item: str, record: dict[str, int]) -> None:
        assert (root / "out" / f"{item}.txt").is_file()
        taken.append((item, record["size"]))

    clear(root)
    results = run_frames(Shout(root), ITEMS, cpu(1), collect=take)
    assert taken == [("b", 9), ("a", 9), ("c", 9)]
    assert results.records == {}
    assert results.frames == ["a", "b", "c"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gpu_is_given_several_items_at_a_time_and_one_that_fails_fails_alone(
    root: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("b", "bad"), ("d", "another"), ("e", "last")):
        (root / "in" / name).write_text(text)
    monkeypatch.setattr("wildseg.execution.run_frames.gpus", lambda _: ["a kind of GPU"])
    failures = Failures("shout", 0.5, 5)
    results = run_frames(ShoutInBatches(root), "abcde", cpu(workers), failures)
    assert sorted((root / "batches").read_text().split()) == ["2", "2"]  # and one alone
    assert failures.rows == [("b", "b is bad")]
    assert results.records == {"a": {"size": 9}, "c": {"size": 9}, "d": {"size": 7}, "e": {"size": 4}}
    assert sorted(path.stem for path in (root / "out").glob("*.txt")) == ["a", "c", "d", "e"]


def test_a_result_of_one_kind_of_gpu_is_none_of_another_or_of_the_cpu(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "one", "another", "one"):
        monkeypatch.setattr("wildseg.execution.run_frames.gpus", lambda _, name=name: [name] * 2 if name else [])
        run_frames(ShoutInBatches(root), "a", cpu(1))
    assert computed(root) == "aaa"


def test_only_frames_that_were_not_quarantined_are_packed(root: Path) -> None:
    (root / "in" / "b").write_text("bad")
    run_frames(Shout(root), ITEMS, cpu(1), Failures("shout", 0.5, 3), packed=True)
    assert (root / "packed").read_text() == "a,c"
    run(root, ["a"])
    assert (root / "packed").read_text() == "a,c"  # not asked for


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_odd_about_a_model_is_said_once_and_the_task_stays_without_it(
    root: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    task = Shout(root)
    run_frames(task, ITEMS, cpu(workers))
    assert capfd.readouterr().err.count("shout: a remark\n") == 1
    assert task.model is None


def test_the_code_of_a_task_is_its_module_and_the_methods_that_were_chosen(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_task.fingerprint, "digest", lambda *modules: repr(modules))
    monkeypatch.setattr(Shout, "methods", lambda _: ["wildseg.methods.cam.gradcam"])
    assert FrameTask.code(Shout(root)) == repr((__name__, "wildseg.methods.cam.gradcam"))


@dataclass
class ShoutKeyedByWorkers(Shout):
    """The same results; a worker makes the key, and leaves a result that starts with "un" to the next run."""

    keyed_by_workers = True

    def compute(self, item: str) -> Entry:
        entry = super().compute(item)
        return Entry(entry.record, entry.files, transient=self.content(item).startswith(b"un"))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_may_make_the_keys_and_then_results_come_in_order(root: Path, workers: int) -> None:
    (root / "in" / "a").unlink()
    first = run_frames(ShoutKeyedByWorkers(root), ["c"], cpu(workers))
    assert (first.computed, first.restored) == (1, [])
    assert computed(root) == "c"
    (root / "in" / "a").write_text("text of a")
    order = []
    again = run_frames(ShoutKeyedByWorkers(root), ITEMS, cpu(workers), collect=lambda item, _: order.append(item))
    assert order == ["a", "b", "c"]
    assert computed(root) == "ab"
    assert (again.cached, again.computed, again.restored) == (1, 2, ["c"])
    assert outputs(root) == expected_outputs(root)


def test_a_transient_result_is_written_and_not_stored(root: Path) -> None:
    (root / "in" / "b").write_text("unsure")
    for again in ("abc", "b"):
        assert run_frames(ShoutKeyedByWorkers(root), ITEMS, cpu(1)).records["b"] == {"size": 6}
        assert (root / "out" / "b.txt").read_bytes() == b"UNSURE"
        assert computed(root) == again


def test_usage_counts_entries_bytes_and_the_last_run(root: Path) -> None:
    assert cache_usage.usage(root / ".wildseg" / "cache") == []
    run(root)
    run(root, ["a"])
    (usage,) = cache_usage.usage(root / ".wildseg" / "cache")
    kept = [path for path in (root / ".wildseg/cache/shout").rglob("*") if path.is_file()]
    assert (usage.stage, usage.entries, usage.hits, usage.misses) == ("shout", 3, 1, 0)
    assert usage.size == sum(path.stat().st_size for path in kept)


def test_pruning_drops_what_was_not_used_for_longest(root: Path) -> None:
    for number, item in enumerate(ITEMS):
        run(root, [item])
        for path in (root / ".wildseg/cache/shout").rglob("*"):
            if path.is_file() and path.stat().st_mtime > 1e9:
                os.utime(path, (number + 1, number + 1))
    run(root, ["a"])  # used again
    computed(root)
    folder = root / ".wildseg" / "cache"
    (usage,) = cache_usage.usage(folder)
    assert cache_usage.prune(folder, usage.size) == (0, 0)
    removed, freed = cache_usage.prune(folder, usage.size - 1)
    assert removed == 1
    assert freed > 0
    run(root)
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
