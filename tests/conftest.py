"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import Hub, serving
from wildseg.execution import result_store


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A model hub of this test alone."""
    with serving(tmp_path / "huggingface", monkeypatch) as served:
        yield served


@pytest.fixture(autouse=True)
def nothing_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test shall see what is computed now; tests of the cache switch it on."""
    monkeypatch.setenv(result_store.VARIABLE, "off")
