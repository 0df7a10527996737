"""The benchmarks of refinements: differences on the same draws, and peers that solve the same system."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from benchmarks import refine, refinements
from benchmarks.refinements import Measured, gain_interval, line, settings

from wildseg.cam import propagation
from wildseg.core import lookup

RIGHT, WRONG = np.array([[4, 4], [0, 0], [0, 0]]), np.array([[0, 0], [4, 4], [4, 4]])  # (3, K): hits, false, missed
CONTENT = yaml.safe_load((refinements.ROOT / "params.yaml").read_text(encoding="utf-8"))


def test_the_gain_is_that_of_the_same_frames_drawn_for_both_sides() -> None:
    noisy = np.stack([RIGHT, WRONG] * 12)
    assert gain_interval(noisy, noisy, np.arange(24)) == (0, 0)  # drawn apart, it would be -.4 to .4
    assert gain_interval(np.stack([RIGHT] * 24), np.stack([WRONG] * 24), np.arange(24)) == (1, 1)
    low, high = gain_interval(noisy, np.stack([WRONG] * 24), np.arange(24))
    assert 0.1 < low < 0.25 < 0.45 < high < 0.6  # 12 of 24 right: 1/3
    assert gain_interval(noisy, np.stack([WRONG] * 24), np.arange(24) // 2) == (pytest.approx(1 / 3),) * 2


def test_a_row_has_the_gain_on_each_drive() -> None:
    plain, better = Measured(np.stack([WRONG] * 8), 0.1), Measured(np.stack([RIGHT] * 4 + [WRONG] * 4), 0.25)
    first = np.arange(8) < 4
    groups = {"both": np.ones(8, bool), "seen": first, "held out": ~first}
    cells = line("caa+pamr", better, plain, np.arange(8), groups).split(" | ")
    assert cells[0] == "| `caa, pamr`"
    assert cells[1] == "0.333"
    assert cells[3:5] == ["1.000", "+1.000 (+1.000 to +1.000)"]
    assert cells[5:] == ["0.000", "+0.000 (+0.000 to +0.000)", "250 |"]
    assert line("none", plain, plain, np.arange(8), groups) == "| `none` | 0.000 |  | 0.000 |  | 0.000 |  | 100 |"


def test_every_refinement_can_be_measured_with_all_pixels_decided() -> None:
    for name in (*lookup.available("methods.refine"), *refinements.IN_ORDER):
        values = settings(CONTENT, name)
        assert values.cam.refined_by == name
        assert values.crf.min_confidence == 0


def test_the_solvers_that_propagation_is_timed_against_solve_the_same_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "CLASSES", 3)
    generator = np.random.default_rng(0)
    maps, grey = generator.random((3, 12, 16)), generator.random((12, 16)) * 255
    ours = propagation.propagate(maps, grey, refine.KAPPA, refine.TAU, refine.STEPS).reshape(3, -1)
    np.testing.assert_allclose(refine._iterative(maps, grey), ours, atol=1e-6)
    np.testing.assert_allclose(refine._direct(maps, grey), ours, atol=1e-3)
