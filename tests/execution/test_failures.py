"""A stage sets frames aside up to its share of failures, says which and why, and stops at one too many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from wildseg.core.errors import DataError
from wildseg.execution import result_store
from wildseg.execution.failures import Failures
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry
from wildseg.execution.run_frames import Results, run_frames
from wildseg.execution.runtime import Runtime


@pytest.mark.parametrize("total", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("percent", [0, 1, 10, 29, 50, 100])
def test_a_stage_stops_above_its_share_and_never_at_it_unless_nothing_is_left(total: int, percent: int) -> None:
    failures = Failures("cam", percent / 100, total)
    survived = 0
    for number in range(total):
        try:
            failures.add(f"f_{number}", "broken")
        except DataError:
            break
        survived += 1
    allowed = max((n for n in range(total) if 100 * n <= percent * total), default=0)
    assert survived == allowed


def test_the_first_failure_that_is_one_too_many_is_told_as_it_is() -> None:
    with pytest.raises(DataError, match=r"^a\.jpg: broken$"):
        Failures("cam", 0.01, 20).add("a", "a.jpg: broken")


def test_several_failures_are_told_with_the_parameter_and_the_first() -> None:
    failures = Failures("cam", 0.2, 5)
    failures.add("a", "a.jpg: broken")
    with pytest.raises(DataError, match=r"cam\.max_failures: expected at most 20% of 5 frames .* found 2 that fail, "
                       r"first a \(a\.jpg: broken\)"):  # fmt: skip
        failures.add("b", "b.jpg: broken")


def test_frames_that_did_not_fail_keep_their_order() -> None:
    failures = Failures("cam", 1.0, 4)
    failures.add("b", "broken")
    assert failures.without(["d", "b", "a"]) == ["d", "a"]
    assert str(failures) == ", 1 quarantined"
    assert str(Failures("cam", 1.0, 4)) == ""


# In a run --------------------------------------------------------------------------------------------------------


@dataclass
class Squares(FrameTask[int]):
    """Squares of numbers, of which 1 and 6 cannot be computed and 4 cannot be read."""

    stage = "cam"

    def depends_on(self) -> dict[str, object]:
        return {}

    def code(self) -> str:
        return ""

    def inputs(self, item: int) -> tuple[int]:
        if item == 4:
            raise DataError("4: vanished")
        return (item,)

    def outputs(self, item: int) -> dict[str, Path]:
        return {"text": self.root / f"{item}.txt"}

    def compute(self, item: int) -> Entry:
        if item in (1, 6):
            self.outputs(item)["text"].write_text("half of a res")
            raise DataError(f"{item}: broken")
        return Entry(item * item, {"text": str(item).encode()})


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Results, Failures]]:
    monkeypatch.delenv(result_store.VARIABLE)

    def serve(share: float, workers: int = 1) -> tuple[Results, Failures]:
        failures = Failures("cam", share, 8)
        return run_frames(Squares(tmp_path), range(8), Runtime(workers, "cpu"), failures), failures

    return serve


@pytest.mark.parametrize("workers", [1, 2])
def test_items_that_fail_are_noted_and_leave_nothing(
    served: Callable[..., tuple[Results, Failures]], tmp_path: Path, workers: int
) -> None:
    for _ in range(2):  # the second time the others come from the cache, and these fail again
        results, failures = served(0.5, workers)
        assert results.records == {str(item): item * item for item in (0, 2, 3, 5, 7)}
        assert results.frames == ["0", "2", "3", "5", "7"]
        assert sorted(failures.rows) == [("1", "1: broken"), ("4", "4: vanished"), ("6", "6: broken")]
        assert sorted(path.stem for path in tmp_path.glob("*.txt")) == ["0", "2", "3", "5", "7"]


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_above_the_budget_the_run_ends(served: Callable[..., tuple[Results, Failures]], share: float) -> None:
    line = "^4: vanished$" if share == 0 else "found 3 that fail, first 4"
    with pytest.raises(DataError, match=line):
        served(share)
