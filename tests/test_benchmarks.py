"""The benchmarks count rightly and write what they say; how fast anything is, is no matter of tests."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchmarks.project
import numpy as np
import pytest
from benchmarks import __main__ as command
from benchmarks import (
    label_methods,
    losses,
    memory,
    table,
    timing,
    trained_cam,
    verdict,
)
from benchmarks.timing import Result, compare

from tests.stages import test_train as stripes
from wildseg.artifacts.project import Frame
from wildseg.core import lookup
from wildseg.core.images import save_label_image
from wildseg.execution import params

RESULT = Result("label, a frame", "ms", 12.345, 10.0, "the bare library", 1.25, 1.0, 1.5, 3)


class Clock:
    """A clock that only the actions below move."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_both_sides_are_warmed_up_and_then_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = Clock(), ""
    durations = {"a": iter((99.0, 2.0, 4.0, 3.0)), "b": iter((99.0, 1.0, 1.0, 3.0))}  # the first of each is the warm-up

    def act(name: str) -> None:
        nonlocal calls
        calls += name
        clock.now += next(durations[name])

    monkeypatch.setattr(timing, "time", clock)
    result = compare("x", lambda: act("a"), lambda: act("b"), "y", per=10, runs=3)
    assert calls == "ab" + "ab" + "ba" + "ab"
    assert (result.ours, result.peer) == (300.0, 100.0)  # medians 3 s and 1 s, in ms a piece of ten
    assert (result.lowest, result.ratio, result.highest) == (1.0, 2.0, 4.0)  # of 2/1, 4/1, 3/3


def test_a_result_is_a_line_of_the_table() -> None:
    line = table.markdown([RESULT]).splitlines()[-1]
    assert line == "| label, a frame | 12.3 ms | 10 ms | 1.25 (1.00 to 1.50) | the bare library |"


def test_a_single_run_has_no_extremes_and_a_small_ratio_keeps_its_digits() -> None:
    once = Result("maps of a frame", "KiB", 8.0, 2400.0, "whole arrays", 1 / 300, 1 / 300, 1 / 300, 1)
    assert table.markdown([once]).splitlines()[-1] == "| maps of a frame | 8 KiB | 2,400 KiB | 0.0033 | whole arrays |"


def test_saving_replaces_the_table_of_one_benchmark_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "HERE", tmp_path)
    (tmp_path / "README.md").write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    other = Result("start of a command", "ms", 2.0, 1.0, "python", 2.0, 2.0, 2.0, 3)
    for benchmark, result in (("stages", other), ("startup", other), ("stages", RESULT)):
        table.save(benchmark, [result])
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(f"before\n{table.BEGIN}\n")
    assert text.endswith(f"\n{table.END}\nafter\n")
    assert text.count("the bare library") == text.count("start of a command") == 1
    assert text.count("On: ") == 1  # the same machine is named once
    assert "old" not in text
    kept = json.loads((tmp_path / "results.json").read_text())
    assert [kept[name]["results"][0]["ratio"] for name in ("stages", "startup")] == [1.25, 2.0]


def test_the_tables_in_the_readme_are_those_of_the_results() -> None:
    kept = json.loads((table.HERE / "results.json").read_text())
    assert set(kept) <= set(command.WHAT | command.ON_REQUEST)
    assert table._tables(kept) in (table.HERE / "README.md").read_text()


def test_the_memory_of_a_command_is_that_of_all_its_processes_at_their_peak(tmp_path: Path) -> None:
    take = "import time; held = bytearray(40_000_000); time.sleep(0.5)"
    tree = f"import subprocess, sys, time; {take}; del held; subprocess.run([sys.executable, '-c', {take!r}])"
    both = (
        f"import subprocess, sys, time; held = bytearray(40_000_000); subprocess.run([sys.executable, '-c', {take!r}])"
    )
    one_after_the_other, at_once = (memory.peak([sys.executable, "-c", code], tmp_path) for code in (tree, both))
    assert 40e6 < one_after_the_other < 75e6
    assert 80e6 < at_once < 130e6


def test_what_is_saved_names_no_folder_and_no_person() -> None:
    assert str(Path.home()) not in json.dumps(table.machine())
    assert not [value for value in table.machine().values() if str(value).startswith("/")]


def test_the_readme_has_a_place_for_the_table() -> None:
    text = (table.HERE / "README.md").read_text()
    assert text.index(table.BEGIN) < text.index(table.END)


def test_every_benchmark_that_can_be_named_exists() -> None:
    for name in command.WHAT | command.ON_REQUEST:
        assert find_spec(f"benchmarks.{name}") is not None


def test_what_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", "stage"])
    with pytest.raises(SystemExit):
        command.main()
    assert f"expected some of {', '.join(command.WHAT | command.ON_REQUEST)}; found stage" in capsys.readouterr().err


def test_the_gain_of_a_label_method_is_that_of_stretches_drawn_again() -> None:
    truth = np.random.default_rng(0).random((24, 3)) < 0.5
    valid, stretch = np.ones_like(truth), np.arange(24) // 4
    wrong, right = (label_methods.Rows(truth, valid, truth, scores, stretch) for scores in (1.0 - truth, truth * 1.0))
    assert label_methods.gain_in(right, right) == (0, 0)
    assert label_methods.gain_in(wrong, right) == (1, 1)
    half = np.where(stretch[:, None] < 3, truth, 0.0)  # finds all in three of six stretches and nothing in the others
    low, high = label_methods.gain_in(wrong, label_methods.Rows(truth, valid, truth, half, stretch))
    assert 0.05 < low < 0.3 < 0.7 < high < 0.95  # of six coins one to five; single frames would say .3 to .7


def test_stretches_are_counted_by_source_and_time() -> None:
    frames = [Frame(str(i), source, i, time, "test") for i, (source, time) in enumerate(
        [("a", 0.0), ("a", 5.9), ("a", 6.0), ("b", 0.1), ("photos", None), ("photos", None)]
    )]  # fmt: skip
    assert label_methods._stretches(frames, 6.0).tolist() == [0, 0, 1, 2, 3, 3]
    assert label_methods._stretches(frames, None).tolist() == [0, 0, 0, 1, 2, 2]


def test_forward_and_backward_are_a_part_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_cam, "SIZE", (48, 64))
    labels = np.eye(trained_cam.FRAMES, len(trained_cam.CLASSES)) > 0
    options = {"encoder": "tu-test_resnet", "crop": 32, "size": [32, 48], "batch_size": 4, "epochs": 1}
    whole, inside = trained_cam.steps(
        trained_cam._objective("classifier", options, labels), trained_cam._images(labels)
    )
    assert 0 < inside < whole


@pytest.mark.parametrize("name", ["dice_and_cross_entropy", "two_rounds"])
def test_a_row_of_the_losses_is_a_trained_model_against_truth(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_TRACKING", "off")
    monkeypatch.setattr(benchmarks.project, "ROOT", tmp_path / "project")
    project = stripes.make(tmp_path / "project")
    frames = project.load_frames()
    project.save_labels([frame.name for frame in frames], ["red", "green", "blue"], np.ones((len(frames), 3), bool))
    for frame in frames[:-1]:  # the frame of the split test has no truth
        save_label_image(project.data / "truth" / f"{frame.name}.png", stripes.stripes(frame.index, 20, 27)[1])
    settings = losses.variant(stripes.values(steps=2, round_confidence=0.0), name)
    (tmp_path / "run").mkdir()
    line = losses.row(name, settings, tmp_path / "run")
    # There are too few stretches of time for an interval.
    assert re.fullmatch(rf"\| {name} \| 0\.\d{{3}} \| - \| - \| \d+ \|", line)
    assert not (project.root / "models").exists()


def test_every_loss_has_a_row_and_every_row_is_possible() -> None:
    default = params.load(losses.ROOT / "params.yaml")
    rows = {name: losses.variant(default, name).train for name in losses.VARIANTS}
    assert {one.loss for one in rows.values()} == set(lookup.available("methods.losses"))
    assert len({repr(one) for one in rows.values()}) == len(rows)
    for one in rows.values():
        one.check()
        kind = ("methods.losses", one.loss, ("loss",))
        lookup.check_options(*kind, one.options.get(one.loss, {}), "train.options")


# Verdicts without truth ------------------------------------------------------------------------------------------


def outcome(name: str, seen: float, held_out: float | None, **measures: float | None) -> dict[str, Any]:
    """The result of an experiment of these true mIoU; estimates are a tenth too high, intervals .05 each way."""

    def group(miou: float | None) -> dict[str, float | None]:
        estimated = None if miou is None else miou + 0.1
        bounds = [None if estimated is None else estimated + shift for shift in (-0.05, 0.05)]
        of_all = dict.fromkeys(verdict.MEASURES)
        return {
            **of_all, "miou": miou, "pseudo": 0.7, "estimated_miou": estimated, "estimated_miou_low": bounds[0],
            "estimated_miou_high": bounds[1], **measures,
        }  # fmt: skip

    return {"name": name, "seconds": 61.2, "seen": group(seen), "held_out": group(held_out)}


def test_rank_correlation_is_that_of_ranks_and_undefined_where_there_is_none() -> None:
    noise = np.random.default_rng(0)
    pairs = noise.normal(size=(30, 2)) + noise.normal(size=(30, 1))
    ranks = pairs.argsort(0).argsort(0)
    expected = np.corrcoef(ranks.T)[0, 1]
    assert verdict.correlation(pairs) == pytest.approx(expected)
    assert np.isnan(verdict.correlation(pairs[:2]))
    assert np.isnan(verdict.correlation(np.ones((5, 2))))
    value, low, _, high = verdict.correlation_text(pairs).split()
    assert float(low[1:]) < float(value) < float(high[:-1])
    assert value == f"{expected:+.2f}"


def test_the_tables_of_verdicts_have_a_line_for_each_experiment_and_measure() -> None:
    mious = (0.3, 0.5, 0.4, 0.6)
    found = [
        outcome(f"e{n}", miou, None if n == 2 else miou, **{"flip.miou": 1 - miou, "confident": 0.5})
        for n, miou in enumerate(mious)
    ]
    lines = verdict.table_of_experiments(found)
    assert lines[2] == "| `e0` | 0.700 | 0.300 | 0.400 (0.350 to 0.450) | 0.700 | 0.300 | 0.400 (0.350 to 0.450) | 61 |"
    assert lines[4].startswith("| `e2` | 0.700 | 0.400 | 0.500 (0.450 to 0.550) | 0.700 | - | - (- to -) |")
    table_of_measures = verdict.table_of_measures(found)
    text = "\n".join(table_of_measures)
    assert "| measure, 4 experiments |" in text
    assert "| estimated mIoU | +1.00 (" in text
    assert "| flip consistency, mIoU | -1.00 (" in text
    assert "| confident pixels | - | - |" in text
    deviation = "estimated minus true mIoU +0.100 on average, +0.100 to +0.100; the interval holds the true one in"
    assert table_of_measures[-2] == f"seen source: {deviation} 0 of 4"
    assert table_of_measures[-1].endswith("in 0 of 3")


def test_every_experiment_is_possible_and_none_is_twice() -> None:
    assert len(verdict.EXPERIMENTS) >= 20
    settings = set()
    for masks, steps, changes in verdict.EXPERIMENTS.values():
        trained = {f"train.{key}": value for key, value in changes.items()}
        settings.add(repr(verdict.settings({**verdict.MASKS[masks], **trained, "train.steps": steps})))
    assert len(settings) == len(verdict.EXPERIMENTS)
    assert {masks for masks, *_ in verdict.EXPERIMENTS.values()} == set(verdict.MASKS)


def test_a_finished_experiment_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def experiment(name: str, work: Path) -> dict[str, Any]:
        made.append(name)
        if len(made) == 2:
            raise KeyboardInterrupt
        assert work == tmp_path
        return outcome(name, 0.5, 0.4)

    for variable in ("WILDSEG_TRACKING", "WILDSEG_CACHE"):
        monkeypatch.setenv(variable, "off")
    monkeypatch.setattr(verdict, "experiment", experiment)
    monkeypatch.setattr("sys.argv", ["verdict", "--work", str(tmp_path), "dice", "pan", "linknet"])
    with pytest.raises(KeyboardInterrupt):
        verdict.main()
    verdict.main()
    assert made == ["dice", "pan", "pan", "linknet"]
    assert "| measure, 3 experiments |" in capsys.readouterr().out
