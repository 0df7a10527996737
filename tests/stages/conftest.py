"""What tests of stages share: no MLflow unless a test asks for it, and the run of `tiny_run` in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts


@pytest.fixture(autouse=True)
def nothing_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that records a run takes seconds; tests of records switch it on."""
    monkeypatch.setenv("WILDSEG_TRACKING", "off")


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    """The first five stages' files, made by hand."""
    return tiny_run.make(tmp_path)
