"""The bank of regions and DVC: what it starts, and that a queued experiment sees it."""

from __future__ import annotations

import pytest

from tests.pipeline.conftest import Project, served, stages_run

pytestmark = pytest.mark.slow


def test_a_bank_starts_cam_alone_and_costs_no_frame_where_nothing_reads_it(project: Project) -> None:
    project.run("wildseg", "memory")
    project.run("dvc", "add", "--quiet", "data/memory/bank.npz")
    project.commit("A bank of regions")
    output = project.dvc("repro")
    assert stages_run(output) == ["cam"]
    number, cached = served(output)["cam"]
    assert cached == number
    project.commit("Its lock")
    # A queued experiment works on what is committed, and so on the bank that DVC knows.
    project.dvc("exp", "run", "--queue", "-S", "cam.refine=memory", "cam")
    assert served(project.dvc("exp", "run", "--run-all"))["cam"] == (number, 0)
